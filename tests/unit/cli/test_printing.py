"""Printing never fails: on consoles that know few characters, and into pipes that nobody reads."""

import json
import subprocess
import sys

import pytest

from guidebench.cli.printing import say_json, width

LINE = "82.5 ± 4.2 m² ↑ … †"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_of_few_characters_shows_others(encoding: str) -> None:
    program = f"from guidebench.cli.printing import say; say({LINE!r}, 'second')"
    environment = {"PYTHONIOENCODING": encoding, "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env=environment | {"PYTHONPATH": ":".join(sys.path)},
    )
    first, second = done.stdout.decode(encoding).splitlines()
    assert second == "second" and first.startswith("82.5 ") and "4.2 m" in first
    assert (first == LINE) == (encoding == "utf-8")


def test_a_closed_pipe_ends_the_printing_alone() -> None:
    program = (
        "import sys\n"
        "from guidebench.cli.printing import say\n"
        "for i in range(20000): say('a line of a long table')\n"
        "print('went on', file=sys.stderr)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read().decode()
    assert process.wait() == 0 and told == "went on\n"


def test_a_document_is_json_whatever_the_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": "±", 3: None})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": "±", "3": None}
    monkeypatch.setenv("COLUMNS", "7")
    assert width() == 40
