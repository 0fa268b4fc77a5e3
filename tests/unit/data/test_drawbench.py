import os
from pathlib import Path

import numpy as np
import pytest

from guidebench.data.drawbench import DrawBench
from guidebench.data.scenes import SceneBench, SceneJudge
from guidebench.errors import DataError

OWN = """Prompt,Category
Two lamps on a shelf.,Counting
"A door, half open.",Reddit
A  chair with   odd spaces.,Gary Marcus et al.\x20
Three lamps on a shelf.,Counting
A green lamp.,DALL-E
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.csv"
    path.write_text(OWN, encoding="utf-8")
    return str(path)


def test_defaults_take_the_papers_two_categories(own: str) -> None:
    problems = DrawBench(own).problems([0])
    assert [(p.category, p.prompt) for p in problems] == [
        ("DALL-E", "A green lamp."),
        ("Reddit", "A door, half open."),
    ]


def test_case_ids_number_the_category_and_hide_the_prompt(own: str) -> None:
    ids = [p.case_id for p in DrawBench(own, categories=None).problems([0])]
    assert ids == ["counting-000", "counting-001", "reddit-000", "gary-marcus-et-al-000", "dall-e-000"]


def test_every_prompt_with_every_seed(own: str) -> None:
    problems = DrawBench(own, categories=["Counting"]).problems([3, 5])
    assert [(p.case_id, p.seed) for p in problems] == [
        ("counting-000", 3),
        ("counting-000", 5),
        ("counting-001", 3),
        ("counting-001", 5),
    ]


def test_spaces_are_tidied_in_file_and_setting(own: str) -> None:
    (problem,) = DrawBench(own, categories=["Gary Marcus et al. "]).problems([0])
    assert (problem.category, problem.prompt) == ("Gary Marcus et al.", "A chair with odd spaces.")


def test_limit_takes_the_first_of_each_category_and_keeps_their_ids(own: str) -> None:
    limited = DrawBench(own, categories=None, limit=1)
    assert {p.case_id for p in limited.problems([0])} == {
        "counting-000",
        "reddit-000",
        "gary-marcus-et-al-000",
        "dall-e-000",
    }


def test_the_hub_files_column_name_is_accepted(own: str, tmp_path: Path) -> None:
    plural = tmp_path / "plural.csv"
    plural.write_text("\ufeff" + OWN.replace("Prompt,", "Prompts,", 1), encoding="utf-8")
    assert DrawBench(str(plural)).problems([0]) == DrawBench(own).problems([0])


def test_unknown_category_names_the_allowed_ones(own: str) -> None:
    with pytest.raises(DataError, match=r"Colours.*allowed.*Counting"):
        DrawBench(own, categories=["Colours"]).problems([0])


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns Prompt,Category"):
        DrawBench(str(tmp_path / "none.csv")).problems([0])


def test_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"dataset\.source=/path/to/drawbench\.csv"):
        DrawBench().problems([0])


@pytest.mark.parametrize("text", ["Text,Kind\nA lamp.,Colors\n", "", "Prompt,Category\n,Colors\n"])
def test_malformed_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"Category|category"):
        DrawBench(str(path)).problems([0])


def test_limit_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="limit=0"):
        DrawBench(limit=0)


def test_the_real_file() -> None:
    path = os.environ.get("GUIDEBENCH_DRAWBENCH_CSV")
    if not path:
        pytest.skip("set GUIDEBENCH_DRAWBENCH_CSV to the path of DrawBench's CSV file")
    everything = DrawBench(path, categories=None).problems([0])
    assert len(everything) == len({p.case_id for p in everything}) == 200
    assert len({p.category for p in everything}) == 11
    figure = [p.category for p in DrawBench(path).problems([0])]
    assert (figure.count("DALL-E"), figure.count("Reddit")) == (20, 38)


def test_every_scene_prompt_can_be_judged() -> None:
    problems = SceneBench().problems([0])
    assert {p.category for p in problems} == {"Colors", "Counting", "Positional", "Conflicting"}
    empty = np.full((64, 64, 3), 240, dtype=np.uint8)
    assert not any(SceneJudge().judge(empty, p.prompt) for p in problems)


def test_the_scene_judge_accepts_a_rendered_answer() -> None:
    from guidebench.data.worlds.scenes.world import SCENES

    picture = SCENES.picture("test", 0)
    prompt = SCENES.describe(picture, np.random.default_rng(0)).text
    assert SceneJudge().judge(SCENES.render(picture), prompt)


@pytest.mark.parametrize(("prompt", "side"), [("a photograph of Rome", 64), ("a red circle", 32)])
def test_the_scene_judge_refuses_what_it_does_not_know(prompt: str, side: int) -> None:
    with pytest.raises(DataError, match="dataset=drawbench/embedded"):
        SceneJudge().judge(np.zeros((side, side, 3), dtype=np.uint8), prompt)
