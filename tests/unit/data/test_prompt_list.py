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


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "at least one prompt"),
        ("a fox", "dataset.prompts='a fox': allowed is a list"),
        (["a fox", " "], r"dataset\.prompts\[1\] is empty"),
        (["a fox", "a  fox"], r"prompts\[1\] is given twice"),
        (["a fox", 3], r"prompts\[1\] is 3, not text; put it into quotes"),
        (["a fox", None], "is None, not text"),
        (["\x1b[31ma fox"], "control character '.x1b'"),
        (["a" * 10_001], "has 10001 characters"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused(prompts: list[str] | str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PromptList(prompts)
