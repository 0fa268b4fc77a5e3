"""Building components from plain values, and whose classes may be named."""

import sys
from pathlib import Path
from typing import Any

import pytest

from guidebench.errors import ConfigError
from guidebench.runner import components
from guidebench.runner.components import build, check, component_class

PACKAGE = """
from guidebench.losses.base import Loss

class Mine(Loss):
    paper = "mine"
    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
    def bind(self, problems, streams):
        return lambda images: self.weight * images.mean((1, 2, 3))
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a module that it declares and one that it does not."""
    for name in ("declared", "other"):
        (tmp_path / "their_package").mkdir(exist_ok=True)
        (tmp_path / "their_package" / "__init__.py").write_text("")
        (tmp_path / "their_package" / f"{name}.py").write_text(PACKAGE)
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[guidebench.components]\nmine = their_package.declared\n")
    monkeypatch.syspath_prepend(tmp_path)
    components.allowed.cache_clear()
    yield
    components.allowed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]


def test_a_declared_module_of_an_installed_package_may_be_named(installed: None) -> None:
    node = {"_target_": "their_package.declared.Mine", "weight": 2.0}
    check(node, "loss")
    assert build(node, "loss").weight == 2.0
    with pytest.raises(ConfigError, match="no such parameter"):
        check({**node, "wait": 1.0}, "loss")


@pytest.mark.parametrize(
    "target", ["their_package.other.Mine", "their_package.declared_too.Mine", "their_package.declared.Loss"]
)
def test_nothing_else_of_it_may(installed: None, target: str) -> None:
    with pytest.raises(ConfigError):
        component_class(target, "loss")


def test_what_no_installed_package_declares_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"entry point 'guidebench\.components'"):
        component_class("their_package.declared.Mine", "loss")


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${loss.scale}", "???", "{_target_: os.system}"])
def test_a_text_stays_a_text(value: str) -> None:
    node = {"_target_": "guidebench.data.prompts.PromptList", "prompts": [value]}
    (problem,) = build(node, "dataset").problems([0])
    assert problem.prompt == value


def test_targets_are_checked_when_they_are_built_too() -> None:
    nested: dict[str, Any] = {"_target_": "os.system", "command": "touch evil"}
    for node in (
        nested,
        {"a": [nested]},
        {"_target_": "guidebench.losses.motion.PathFollowing", "scale": nested},
    ):
        with pytest.raises(ConfigError, match=r"os\.system"):
            build(node, "loss")


def test_a_constructor_that_refuses_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^sampler\.eta: got 2"):
        build({"_target_": "guidebench.samplers.ddim.DDIM", "n_steps": 3, "eta": 2.0}, "sampler")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts": [1, 2]}, "allowed: a list, each a text"),
        ({"prompts": "a cat"}, "a list"),
        ({"prompts": ["a cat"], "limit": 3}, "no such parameter"),
    ],
)
def test_values_are_held_against_the_signature(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check({"_target_": "guidebench.data.prompts.PromptList", **values}, "dataset")
