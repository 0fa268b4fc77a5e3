"""What happens to what fails: a sample, a job of a sweep, the logger. The rest goes on and the exit status tells."""

import csv
import json
import signal
from pathlib import Path

BREAK_ONE_ROW = """
import torch
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.methods.end_to_end.doodl import DOODL
original = DOODL.update
def update(self, x_T, velocity, grad, noise, radius):
    grad = grad.clone()
    grad[:, 0, 0, 0, 0] = float("nan")
    return original(self, x_T, velocity, grad, noise, radius)
DOODL.update = update
"""
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


def test_a_sample_that_becomes_nan_is_recorded_and_never_counted(
    commands, whole: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    # NaN rows of batches of two: 2 of DOODL's 4 samples
    commands.run(*commands.table(results), setup=BREAK_ONE_ROW, status=1)  # a sixth of the samples
    failed = [r for r in stored(results) if r["status"] == "failed"]
    assert len(failed) == 2
    for record in failed:
        assert "x_T" in record["failure"] and "step 0" in record["failure"]
        assert record["files"] == {} and record["history"] == {}
    assert len([r for r in stored(results) if r["status"] == "ok"]) == 10
    fine, broken = (
        {name: p.read_text() for name, p in images(folder).items()} for folder in (whole, results)
    )
    assert broken.items() <= fine.items() and len(broken) == 10
    table = next(commands.tables(results)[name] for name in commands.tables(results) if name.endswith(".csv"))
    rows = [
        r
        for r in csv.DictReader(table.decode().splitlines())
        if "doodl" in ",".join(map(str, r.values())).lower()
    ]
    assert (rows and "failed" in table.decode().lower()) or "failures" in table.decode().lower()
    # never silently redone: the same command again makes nothing new
    before = commands.records(results)
    commands.run(*commands.table(results), status=1)
    assert commands.records(results) == before


def images(results: Path) -> dict[str, Path]:
    """A file of checksums of each sample that has an image; the other rows of a batch must not feel a NaN."""
    found = {}
    for path in (results / "runs" / "samples").glob("*/[!.]*/sample.png"):
        digest = path.with_name("image.sum")
        digest.write_text(path.read_bytes().hex())
        found[str(path.parent.relative_to(results))] = digest
    return found


def test_a_failing_job_of_a_table_does_not_stop_the_others(commands, whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = commands.run(*commands.table(results), setup=BREAK_SOME_JOBS, status=1)
    assert len(commands.records(results)) == 8
    (log,) = (p for p in (results / "runs" / "logs").iterdir() if p.is_file())
    assert "Traceback" in log.read_text() and "the network caught fire" in log.read_text()
    assert "one_step" in log.read_text() and "s0-" in log.read_text()
    assert str(log) in command.output.replace("\n", "")
    commands.run(*commands.table(results))
    assert commands.tables(results) == commands.tables(whole)


def test_a_failing_job_of_a_multirun_does_not_stop_the_others(commands, tmp_path: Path) -> None:
    results = tmp_path / "results"
    own = ["size=smoke", "n_steps=2", "dataset.limit=1", f"paths.results={results}", *commands.tiny]
    command = commands.start("run", "-m", "method=one_step,none", "seed=0,1", *own, setup=BREAK_SOME_JOBS)
    assert commands.wait(command) not in (0, None, -signal.SIGKILL), command.output
    assert len(commands.records(results)) == 12
    (sweep,) = (results / "runs" / "logs").iterdir()
    folders = [folder for folder in sweep.iterdir() if folder.is_dir()]
    logs = {folder.name: "".join(p.read_text() for p in folder.glob("*.log")) for folder in folders}
    assert set(logs) == {"0", "1", "2", "3"}
    assert "Traceback" in logs["0"] and "the network caught fire" in logs["0"]
    assert not any("Traceback" in logs[name] for name in ("1", "2", "3"))
    assert list(commands.cwd.iterdir()) == []
