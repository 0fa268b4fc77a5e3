"""What happens to what fails: a sample, a job of a sweep, the logger. The rest goes on and the exit status tells."""

import json
import signal
from pathlib import Path

import pytest

"""The first latent of every batch that DOODL optimises becomes NaN."""

BREAK_SOME_JOBS = """
from guidebench.methods.posterior.one_step import OneStep
original = OneStep.generate
def generate(self, problems, setup):
    if problems[0].seed == 0:
        raise RuntimeError("the network caught fire")
    return original(self, problems, setup)
OneStep.generate = generate
"""


def stored(results: Path) -> list[dict]:
    return [
        json.loads(p.read_text())["content"]
        for p in sorted((results / "runs" / "samples").glob("*/[!.]*/record.json"))
    ]


def test_an_infinite_strength_fails_samples_not_the_command(commands, tmp_path: Path) -> None:
    results = tmp_path / "results"
    commands.run(*commands.table(results, "rows=one_step", "method.scale=inf"), status=1)
    records = stored(results)
    assert len(records) == 4 and {r["status"] for r in records} == {"failed"}
    assert all("gradient became non-finite at step 0" in r["failure"] for r in records)


def test_one_job_that_fails_gives_a_status(commands, tmp_path: Path) -> None:
    own = ["size=smoke", "n_steps=2", "dataset.limit=1", f"paths.results={tmp_path / 'r'}", *commands.tiny]
    command = commands.start("run", "method=one_step", *own, setup=BREAK_SOME_JOBS)
    assert commands.wait(command) not in (0, -signal.SIGKILL)
    assert "the network caught fire" in command.output
    commands.run("run", "method=one_step", *own)


@pytest.mark.slow
def test_wandb_reports_offline_without_an_account(commands, whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    commands.run(*commands.table(results, "logger=wandb", "rows=none,one_step"))
    runs = list((results / "runs" / "wandb").rglob("*.wandb"))
    assert len(runs) == 3  # two jobs and the table
    assert list(commands.cwd.iterdir()) == []


BROKEN_LOGGERS = {
    "raises at the start": (
        "import wandb\ndef init(*a, **k): raise wandb.errors.CommError('no service')\nwandb.init = init\n"
    ),
    "is not installed": "import sys\nsys.modules['wandb'] = None",
}


@pytest.mark.parametrize("how", BROKEN_LOGGERS)
def test_a_logger_that_breaks_never_stops_the_science(commands, tmp_path: Path, how: str) -> None:
    results = tmp_path / "results"
    command = commands.run(*commands.table(results, "logger=wandb", "rows=none"), setup=BROKEN_LOGGERS[how])
    assert "not reported" in command.output
    assert len(commands.records(results)) == 4 and commands.tables(results)


@pytest.mark.slow
def test_a_folder_that_wandb_cannot_write_never_stops_the_science(commands, tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "runs").mkdir(parents=True)
    (results / "runs" / "wandb").write_text("a file where the folder should be")
    command = commands.run(*commands.table(results, "logger=wandb", "rows=none"))
    assert "not reported" in command.output
    assert len(commands.records(results)) == 4 and commands.tables(results)


def test_plan_writes_nothing(commands, whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = commands.run("plan", *commands.table(results)[1:])
    assert not results.exists()
    assert "12 samples to make" in command.output
    (total,) = [line for line in command.output.splitlines() if "on this machine" in line]
    assert " to " in total and "to start" in total
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    command = commands.run("plan", *commands.table(whole)[1:], "--no-probe")
    assert "0 samples to make" in command.output
    assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*")}


def test_gallery_shows_every_image_of_the_store(commands, whole: Path) -> None:
    before = commands.records(whole)
    command = commands.run("gallery", *commands.table(whole)[1:])
    (page,) = (whole / "runs" / "tables").glob("*gallery.html")
    assert str(page) in command.output.replace("\n", "")
    text = page.read_text()
    page.unlink()  # the folder is compared elsewhere
    for problem in ({"a red circle and a blue square"}, {"doodl", "one_step", "none"}):
        assert all(words in text or json.dumps(words)[1:-1] in text for words in problem)
    assert "http://" not in text.replace("http://www.w3.org", "") and 'src="https://' not in text
    assert commands.records(whole) == before


def test_gallery_of_an_empty_store_says_what_to_do(commands, tmp_path: Path) -> None:
    command = commands.run("gallery", *commands.table(tmp_path / "r")[1:], status=2)
    assert "guidebench table doodl/fig5" in command.output and "Traceback" not in command.output


@pytest.mark.parametrize(
    "argv", [["table", "doodl/fig6"], ["table", "doodl/fig5", "metod=none"], ["run", "method=dodl"]]
)
def test_mistakes_are_refused_with_a_suggestion(commands, argv: list[str]) -> None:
    command = commands.run(*argv, status=2)
    assert "did you mean" in command.output and "Traceback" not in command.output
    assert list(commands.cwd.iterdir()) == []
