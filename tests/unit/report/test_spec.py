"""A table's YAML is checked by name before anything is computed."""

import copy
from typing import Any

import pytest

from guidebench.errors import ConfigError
from guidebench.report.spec import parse_spec


def test_defaults_and_labels(document: dict[str, Any]) -> None:
    spec = parse_spec(document)
    assert spec.rows.values == ("none", "one_step", "doodl")
    assert spec.metric("prompt_success").label == "prompt_success"
    assert spec.metric("clip_score").decimals == 3
    assert spec.cluster_by == "prompt"


def test_row_values_become_text() -> None:
    spec = parse_spec(
        {
            "paper": "p",
            "paper_setting": "s",
            "title": "t",
            "primary": "m",
            "rows": {"key": "method.scale", "values": [1, 2.5]},
            "metrics": {"m": {"higher_is_better": False}},
        }
    )
    assert spec.rows.values == ("1", "2.5")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("primray",), "clip_score", "did you mean 'primary'"),
        (("primary",), "clipscore", "did you mean 'clip_score'"),
        (("metrics", "clip_score", "higher_is_beter"), True, "did you mean 'higher_is_better'"),
        (("comparisons", 0, "row"), "dodl", r"comparisons\[0\].row.*did you mean 'doodl'"),
        (
            ("comparisons", 0, "against"),
            "edict",
            r"comparisons\[0\].against: received 'edict', allowed: none",
        ),
        (("comparisons", 1, "kind"), "ratio", "allowed: relative_percent, difference"),
        (("comparisons", 1, "metric"), "fid", r"comparisons\[1\].metric"),
        (("rows", "labels"), {"two_step": "x"}, "rows.labels"),
        (("paper_values",), [{"row": "doodl", "metric": "fid", "values": {}}], r"paper_values\[0\].metric"),
        (("metrics",), ["clip_score"], "metrics: expected a mapping"),
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


@pytest.mark.parametrize("key", ["rows", "metrics", "title", "paper_setting"])
def test_missing_keys_are_refused(document: dict[str, Any], key: str) -> None:
    del document[key]
    with pytest.raises(ConfigError, match=f"key '{key}' is missing"):
        parse_spec(document)
