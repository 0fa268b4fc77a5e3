"""A table's YAML is checked by name before anything is computed."""

import copy
from typing import Any

import pytest

from guidebench.errors import ConfigError
from guidebench.report.paper import parse_numbers
from guidebench.report.spec import parse_spec


def test_defaults_and_labels(document: dict[str, Any]) -> None:
    spec = parse_spec(document)
    assert [row.name for row in spec.rows] == ["none", "one_step", "doodl"]
    assert [row.label for row in spec.rows] == ["none", "one-step", "doodl"]
    assert spec.column("prompt_success").label == "prompt_success"
    assert spec.column("clip_score").decimals == 3
    assert spec.cluster_by == "prompt" and spec.primary == "clip_score"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("primray",), "clip_score", "did you mean 'primary'"),
        (("primary",), "clipscore", "did you mean 'clip_score'"),
        (("columns", "clip_score", "higher_is_beter"), True, "did you mean 'higher_is_better'"),
        (("comparisons", 0, "row"), "dodl", r"comparisons\[0\].row.*did you mean 'doodl'"),
        (
            ("comparisons", 0, "against"),
            "edict",
            r"comparisons\[0\].against: received 'edict', allowed: none",
        ),
        (("comparisons", 1, "kind"), "ratio", "allowed: relative_percent, difference"),
        (("comparisons", 1, "column"), "fid", r"comparisons\[1\].column"),
        (("columns",), ["clip_score"], "columns: expected a mapping"),
        (("rows", "doodl"), "DOODL", "rows.doodl: expected a mapping"),
    ],
)
def test_wrong_names_are_refused_with_a_suggestion(
    document: dict[str, Any], path: tuple[Any, ...], value: object, message: str
) -> None:
    changed: Any = copy.deepcopy(document)
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        parse_spec(changed)


@pytest.mark.parametrize("key", ["rows", "columns", "title"])
def test_missing_keys_are_refused(document: dict[str, Any], key: str) -> None:
    del document[key]
    with pytest.raises(ConfigError, match=f"key '{key}' is missing"):
        parse_spec(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"setting": None}, "it must have setting"),
        ({"rows": {"doodl": {"fid": "21.3"}}}, r"lgd\.rows\.doodl\.fid: got '21.3'; allowed: a number"),
        ({"rows": {"doodl": {"fid": {"cats": True}}}}, r"rows\.doodl\.fid\.cats"),
        ({"row": {}}, "may have source, rows"),
    ],
)
def test_a_papers_section_is_held_to_its_form(
    section: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    changed = {key: value for key, value in (section | change).items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        parse_numbers(changed, "lgd")


def test_one_printed_change_may_stand_for_several_rows() -> None:
    changes = [{"column": "kl", "rows": ["a", "b"], "against": "c", "relative_percent": -90}]
    numbers = parse_numbers({"setting": "s", "changes": changes}, "lgd")
    assert numbers.change("kl", "b", "c", "relative_percent") == {"": -90}
    assert numbers.change("kl", "b", "c", "difference") == {} == numbers.change("kl", "c", "b", "difference")
