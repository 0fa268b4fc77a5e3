"""Shell completion answers with commands first, then with Hydra's overrides."""

import pytest

from guidebench.cli import COMMANDS
from guidebench.cli.main import main


def complete(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    return capsys.readouterr().out.split()


def test_commands_come_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert complete("guidebench t", monkeypatch, capsys) == list(COMMANDS)


@pytest.mark.parametrize("line", ["guidebench run method=", "guidebench table doodl/fig5 method="])
def test_choices_of_a_group(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"method=none", "method=one_step", "method=doodl"} <= set(complete(line, monkeypatch, capsys))


def test_keys_of_the_chosen_component(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = complete("guidebench run method=doodl method.n", monkeypatch, capsys)
    assert {"method.n_opt=", "method.noise_std="} <= set(keys)
