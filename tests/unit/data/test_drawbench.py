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


HEAD = b"Prompt,Category\n"
MALFORMED = {
    "other columns": (
        b"Text,Kind\nA lamp.,Colors\n",
        "line 1: the columns are Text, Kind; needed are Prompt",
    ),
    "empty": (b"", "line 1: the columns are none"),
    "header only": (HEAD, "line 1: nothing follows the header"),
    "no prompt": (HEAD + b"A lamp.,x\n,x\n", "line 3: the prompt is empty; a row needs prompt and category"),
    "no category": (HEAD + b"A lamp., \n", "line 2: the category is empty"),
    "unquoted comma": (
        HEAD + b"A lamp.,x\nA door, open,x\n",
        "line 3: 3 values for the 2 columns.*double quotes",
    ),
    "one value": (HEAD + b"A lamp.\n", "line 2: 1 values for the 2 columns"),
    "latin-1": (HEAD + b"A lamp.,x\n" + "Ein Tür,x".encode("latin-1"), "line 3: the byte 0xfc is not UTF-8"),
    "utf-16": (
        (HEAD + b"A lamp.,x\n").decode().encode("utf-16"),
        "line 1: the file is in UTF-16; save it as UTF-8",
    ),
    "over-long": (HEAD + b"A lamp.,x\n" + b"a" * 20_000 + b",x\n", "line 3: the prompt has 20000 characters"),
    "far over-long": (
        HEAD + b"A lamp.,x\n" + b"a" * 140_000 + b",x\n",
        "line 3: field larger than field limit",
    ),
    "number": (HEAD + b"A lamp.,x\n42,x\n", "line 3: the prompt is a number, not text"),
    "decimal": (HEAD + b'"-1,5",x\n', "line 2: the prompt is a number, not text"),
    "open quote": (HEAD + b'A lamp.,x\n"A door,x\nA sofa,x\n', "line 4: .*double quote left open"),
    "escape": (HEAD + b"A \x1b[31m lamp.,x\n", "line 2: the prompt holds the control character '.x1b'"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_files_are_refused_with_their_line(tmp_path: Path, what: str) -> None:
    content, message = MALFORMED[what]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        DrawBench(str(path), categories=None).problems([0])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_in_words_and_commas_in_quotes_are_prompts(tmp_path: Path) -> None:
    path = tmp_path / "good.csv"
    path.write_bytes(HEAD + b'"Two lamps, 3 doors",7\r\n\r\nnan and 1 sofa,7\r\n')
    problems = DrawBench(str(path), categories=[7]).problems([0])  # type: ignore[list-item]  # YAML's 7 is a number
    assert [p.prompt for p in problems] == ["Two lamps, 3 doors", "nan and 1 sofa"]


def test_categories_in_other_scripts_have_cases(tmp_path: Path) -> None:
    path = tmp_path / "scripts.csv"
    rows = ["A cat.,猫", "A dog.,犬", "A fox.,Foxes", "Two foxes.,foxes!", f"A long one.,{'x' * 100}"]
    path.write_text("Prompt,Category\n" + "\n".join(rows) + "\n", encoding="utf-8")
    ids = [p.case_id for p in DrawBench(str(path), categories=None).problems([0])]
    assert len(set(ids)) == 5 and ids[2:4] == ["foxes-000", "foxes-001"] and max(map(len, ids)) <= 80


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
