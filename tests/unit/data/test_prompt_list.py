"""Prompts given one by one."""

import pytest

from guidebench.data.prompts import PromptList
from guidebench.errors import DataError


def test_every_prompt_with_every_seed_and_spaces_tidied() -> None:
    made = PromptList(["a  fox ", "an owl"]).problems([3, 4])
    assert [(p.case_id, p.seed, p.prompt) for p in made] == [
        ("prompt-000", 3, "a fox"),
        ("prompt-000", 4, "a fox"),
        ("prompt-001", 3, "an owl"),
        ("prompt-001", 4, "an owl"),
    ]


@pytest.mark.parametrize("prompts", [[], "a fox", ["a fox", " "], ["a fox", "a  fox"]])
def test_empty_and_repeated_prompts_are_refused(prompts: list[str] | str) -> None:
    with pytest.raises(DataError, match="at least one, none empty or given twice"):
        PromptList(prompts)
