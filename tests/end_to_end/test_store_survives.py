"""What the store promises, tried on real processes: nothing is lost or made twice, and tables come out the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

BATCHES, SAMPLES = 6, 12

COUNT = """
from guidebench.runner.experiment import Experiment
original = Experiment._generate
def generate(self, batch):
    with open({path!r}, "a") as log:
        log.write(f"{{self.config_hash}} {{batch.name}}\\n")
    return original(self, batch)
Experiment._generate = generate
"""
"""Notes every batch that a process starts to generate."""

DIE = """
import os, signal
calls = 0
original_{name} = os.{name}
def {name}(*args, **kwargs):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original_{name}(*args, **kwargs)
os.{name} = {name}
"""
"""Kills the process in the middle of a write: just before its n-th rename or sync."""


HANG = """
import time
from guidebench.runner.experiment import Experiment
def hang(self, batch):
    open({path!r}, "w").close()
    time.sleep(600)
Experiment._generate = hang
"""
"""Takes the first batch and never comes back."""


def started(log: Path) -> Counter[str]:
    """How often each batch was started."""
    return Counter(log.read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "call"), [("fsync", 1), ("fsync", 4), ("rename", 2), ("rename", 9), ("replace", 1)]
)
def test_killed_within_a_write(commands, whole: Path, tmp_path: Path, name: str, call: int) -> None:
    results, log = tmp_path / "results", tmp_path / "batches"
    count = COUNT.format(path=str(log))
    commands.run(
        *commands.table(results), setup=count + DIE.format(name=name, call=call), status=-signal.SIGKILL
    )
    before = commands.records(results)
    commands.run(*commands.table(results), setup=count)
    after = commands.records(results)
    assert commands.tables(results) == commands.tables(whole)
    assert before.items() <= after.items() and len(after) == SAMPLES
    assert len(started(log)) == BATCHES and started(log).total() <= BATCHES + 1


@pytest.mark.slow
def test_killed_at_random_moments(commands, whole: Path, tmp_path: Path) -> None:
    results, log = tmp_path / "results", tmp_path / "batches"
    count, kills, chance = COUNT.format(path=str(log)), 0, random.Random(0)
    before: dict[str, int] = {}
    for _ in range(4):
        begun = started(log).total() if log.exists() else 0
        command = commands.start(*commands.table(results), setup=count)
        while not log.exists() or started(log).total() == begun:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))  # somewhere within a batch, its writes, or the next one
        os.kill(command.pid, signal.SIGKILL)
        kills += commands.wait(command) == -signal.SIGKILL
        now = commands.records(results)
        assert before.items() <= now.items()
        before = now
    commands.run(*commands.table(results), setup=count)
    assert kills
    assert commands.tables(results) == commands.tables(whole)
    assert before.items() <= commands.records(results).items()
    assert len(started(log)) == BATCHES and started(log).total() <= BATCHES + kills


def test_two_processes_share_the_work(commands, whole: Path, tmp_path: Path) -> None:
    results, log = tmp_path / "results", tmp_path / "batches"
    both = [commands.start(*commands.table(results), setup=COUNT.format(path=str(log))) for _ in range(2)]
    for command in both:
        assert commands.wait(command) == 0, command.output
    assert commands.tables(results) == commands.tables(whole)
    assert len(commands.records(results)) == SAMPLES
    assert set(started(log).values()) == {1} and len(started(log)) == BATCHES


def test_what_a_dying_process_holds_is_taken_over(commands, whole: Path, tmp_path: Path) -> None:
    """The second process waits for the first one's batch; the first is killed while it holds it."""
    results, log = tmp_path / "results", tmp_path / "batches"
    hang = HANG.format(path=str(tmp_path / "holding"))
    first = commands.start(*commands.table(results), setup=hang)
    while not (tmp_path / "holding").exists():
        time.sleep(0.05)
    second = commands.start(*commands.table(results), setup=COUNT.format(path=str(log)))
    while not log.exists() or len(started(log)) < BATCHES - 1:
        time.sleep(0.05)
    time.sleep(0.2)
    assert len(started(log)) == BATCHES - 1
    os.kill(first.pid, signal.SIGKILL)
    assert commands.wait(first) == -signal.SIGKILL
    assert commands.wait(second) == 0, second.output
    assert commands.tables(results) == commands.tables(whole)


@pytest.mark.slow
def test_a_finished_command_again_changes_nothing(whole: Path, commands) -> None:
    """From a cold start, in seconds, without the diffusion library."""

    def everything() -> dict[Path, tuple[int, bytes]]:
        files = [p for p in whole.rglob("*") if p.is_file() and "tables" not in p.parts]
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    before = everything()
    tables = commands.tables(whole)
    script = (
        "import sys; from guidebench.cli.main import main; status = main(sys.argv[1:]); "
        "heavy = {'diffusers', 'open_clip', 'transformers', 'wandb'} & sys.modules.keys(); "
        "assert not heavy, heavy; sys.exit(status)"
    )
    start = os.times().children_user
    done = subprocess.run(
        [sys.executable, "-c", script, *commands.table(whole)],
        cwd=commands.cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert os.times().children_user - start < 20
    assert commands.tables(whole) == tables
    assert everything() == before


def corrupt_image(folder: Path) -> None:
    content = bytearray((folder / "sample.png").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "sample.png").write_bytes(content)


def corrupt_record(folder: Path) -> None:
    """A number in the record that reads well but was never written."""
    text = (folder / "record.json").read_text()
    number = json.loads(text)["content"]["nfe_fwd"]
    (folder / "record.json").write_text(text.replace(f'"nfe_fwd": {number}', f'"nfe_fwd": {number + 1}'))


@pytest.mark.parametrize("corrupt", [corrupt_image, corrupt_record])
def test_a_damaged_sample_is_found_set_aside_and_redone(
    commands, whole: Path, tmp_path: Path, corrupt
) -> None:
    results = tmp_path / "results"
    shutil.copytree(whole, results, copy_function=shutil.copy2)
    before = commands.records(results)
    victim = sorted(before)[5]
    folder = results / "runs" / "samples" / victim
    intact = (folder / "sample.png").read_bytes()
    corrupt(folder)
    commands.run(*commands.table(results))
    after = commands.records(results)
    assert {name for name in before if before[name] != after[name]} == {victim}
    assert (folder / "sample.png").read_bytes() == intact
    (aside,) = (results / "runs" / "quarantine").iterdir()
    assert Path(victim).name in aside.name
    assert commands.tables(results) == commands.tables(whole)


def test_no_run_only_tabulates(commands, whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(whole, results, copy_function=shutil.copy2)
    victim = sorted(commands.records(results))[0]
    shutil.rmtree(results / "runs" / "samples" / victim)
    before = commands.records(results)
    refused = commands.run(*commands.table(results), "--no-run", status=2)
    assert "cells of the new table are missing" in refused.output
    assert commands.tables(results) == commands.tables(
        whole
    )  # a good table is not replaced by one with holes
    elsewhere = tmp_path / "elsewhere"
    commands.run(*commands.table(results, f"paths.tables={elsewhere}"), "--no-run")
    assert commands.records(results) == before and len(before) == SAMPLES - 1
    assert any("missing" in path.read_text() for path in elsewhere.glob("*.md"))


def test_no_run_of_an_empty_store_says_so(commands, tmp_path: Path) -> None:
    command = commands.start(*commands.table(tmp_path / "results"), "--no-run")
    commands.wait(command)
    assert "Traceback" not in command.output
    assert not commands.records(tmp_path / "results")


def test_everything_is_written_below_paths_results(commands, whole: Path, tmp_path: Path) -> None:
    home = Path(commands.home)
    before = sorted(home.rglob("*"))
    for argv in (commands.table(tmp_path / "r"), ["plan", *commands.table(tmp_path / "r")[1:]]):
        commands.run(*argv)
    commands.run("run", f"paths.results={tmp_path / 'r'}", "size=smoke", "dataset.limit=1", *commands.tiny)
    assert list(commands.cwd.iterdir()) == []
    assert sorted(home.rglob("*")) == before


def test_prompts_never_become_file_names(whole: Path) -> None:
    names = [json.loads(p.read_text())["content"]["problem"]["prompt"] for p in whole.rglob("record.json")]
    words = {word for prompt in names for word in prompt.split() if len(word) > 3} - {"background"}
    assert len(words) > 5
    paths = " ".join(str(p.relative_to(whole)) for p in whole.rglob("*"))
    assert not [word for word in words if word in paths.replace("positional", "").replace("conflicting", "")]
