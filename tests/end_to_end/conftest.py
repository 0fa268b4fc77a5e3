"""Commands as processes of their own, on tiny models with random weights."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_SERVER = Path(__file__).with_name("cli_server.py")


@dataclass
class Command:
    """A running or finished command."""

    pid: int
    log: Path
    status: int | None = None

    @property
    def output(self) -> str:
        return self.log.read_text()


@dataclass
class Commands:
    """Starts `guidebench` commands; each is a process, forked from one that has imported what they need."""

    weights: Path
    server: subprocess.Popen
    home: Path
    folder: Path = field(default_factory=Path)
    cwd: Path = field(default_factory=Path)
    count: int = 0

    def _ask(self, request: dict) -> int:
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *argv: str, setup: str = "", env: dict[str, str] | None = None) -> Command:
        self.count += 1
        log = self.folder / f"{self.count}.log"
        request = {"argv": argv, "cwd": str(self.cwd), "log": str(log), "setup": setup}
        return Command(self._ask({**request, "env": {"COLUMNS": "200", **(env or {})}}), log)

    def wait(self, command: Command) -> int:
        if command.status is None:
            command.status = self._ask({"wait": command.pid})
        return command.status

    def run(self, *argv: str, setup: str = "", env: dict[str, str] | None = None, status: int = 0) -> Command:
        """Run to the end; its exit status must be `status`."""
        command = self.start(*argv, setup=setup, env=env)
        assert self.wait(command) == status, command.output
        return command

    @property
    def tiny(self) -> list[str]:
        """Overrides: the tiny models, on the CPU."""
        return [
            f"model.source={self.weights}/text_to_image",
            f"networks.guide_clip.directory={self.weights}/clip_guide",
            f"networks.score_clip.directory={self.weights}/clip_score",
            "loss.n_crops=2",
            "device=cpu",
        ]

    def table(self, results: Path, *overrides: str) -> list[str]:
        """Arguments of a small table: 3 methods x 1 seed x 4 prompts in batches of 2 = 6 batches, 12 samples."""
        own = ["size=smoke", "n_steps=2", "seed=0", "batch_size=2", f"paths.results={results}"]
        return ["table", "doodl/fig5", *own, *self.tiny, *overrides]

    @staticmethod
    def tables(results: Path) -> dict[str, bytes]:
        """Every file of the main table; the costs table holds measured times."""
        folder = results / "runs" / "tables"
        found = {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if "costs" not in p.name}
        assert {Path(name).suffix for name in found} == {".md", ".csv", ".tex", ".html"}
        return found

    @staticmethod
    def records(results: Path) -> dict[str, int]:
        """Each stored sample with the time at which its record was written."""
        samples = results / "runs" / "samples"
        return {
            str(p.relative_to(samples).parent): p.stat().st_mtime_ns
            for p in samples.glob("*/[!.]*/record.json")
        }


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    weights = tmp_path_factory.mktemp("tiny")
    home = tmp_path_factory.mktemp("home")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HF_"))}
    environment = keep | {
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
    }
    server = subprocess.Popen(
        [sys.executable, str(_SERVER), str(weights)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert server.stdout and server.stdin
    assert server.stdout.readline() == "ready\n"
    yield Commands(weights, server, home)
    server.stdin.close()
    server.wait(timeout=30)


@pytest.fixture
def commands(_server: Commands, tmp_path: Path) -> Commands:
    """A fresh log folder and working directory for each test."""
    _server.folder, _server.cwd, _server.count = tmp_path / "logs", tmp_path / "cwd", 0
    _server.folder.mkdir()
    _server.cwd.mkdir()
    return _server


@pytest.fixture(scope="session")
def whole(_server: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small table, made without interruption."""
    base = tmp_path_factory.mktemp("whole")
    _server.folder, _server.cwd, _server.count = base, base, 0
    _server.run(*_server.table(base / "results"))
    return base / "results"
