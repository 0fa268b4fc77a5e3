"""`guidebench run`: what it refuses, and what happens to its jobs, folders and sweeps."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guidebench.cli import failures, run
from guidebench.cli.main import main
from guidebench.errors import ConfigError, printable
from guidebench.runner.compose import parse, quoted
from guidebench.runner.folders import shipped

Outcome = Callable[[run.Job], int]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict]:
    """Configurations of the jobs that were started; nothing is generated."""
    started: list[dict] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "_run", lambda job: started.append(job.config) or 0)
    yield started
    for handler in list(logging.root.handlers):  # Hydra's, whose files go with the folder
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)


REFUSED = [
    ("metric=lpips", "+metric@metrics.lpips=lpips"),
    (
        "clip=embedded_guide",
        "clip@networks.guide_clip=embedded_guide or clip@networks.score_clip=embedded_guide",
    ),
    ("classifier=vgg16", "classifier@networks.guide_classifier=vgg16"),
    ("setting=x", "task and suite choose the setting"),
    ("metrics=[clip_score]", "+metric@metrics.NAME=CHOICE"),
    ("+metric.m=1", "did you mean 'metrics'"),
    ("metrics.clip_score.clip=guide", "a component, CLIP"),
    ("cfg_scale=-3", "a number from 0"),
    ("cfg_scale=nan", "a number from 0"),
    ("seed=-1", "a whole number from 0"),
    ("seed=many", "a whole number from 0"),
    ("seed=[1,1]", "a list of different ones"),
    ("seed=[]", "a list of different ones"),
    ("batch_size=0", "a whole number from 1"),
    ("n_steps=0", "a whole number from 1"),
    ("dataset.limit=0", "a whole number from 1"),
    ("device=gpu", "allowed: auto, cpu, cuda, cuda:N, mps"),
    ("device=cuda:99", "which this machine has not"),
    ("paths.results=", "a folder"),
    ("paths.results=/a(b)", "quote the value"),
    ("seed=range(0,0)", "range(0,0)"),
    ("loss.scale=${oc.env:HOME}", "no resolvers"),
    ("n_steps=${oc.env:HOME}", "no resolvers"),
    ("+hydra.callbacks.x._target_=os.system", "hydra.callbacks"),
    ("hydra.launcher._target_=os.system", "os.system"),
    ("+hydra.job_logging.handlers.x={class: logging.handlers.SocketHandler}", "SocketHandler"),
    ("+hydra.job_logging.handlers.x.stream='ext://os.environ'", "ext://os.environ"),
    ("+hydra.job_logging.formatters.simple.class=code.InteractiveConsole", "InteractiveConsole"),
    ("+hydra.job.env_set.LD_PRELOAD=x", "hydra.job.env_set"),
    ("hydra.run.dir=${oc.env:HOME}", "no resolvers"),
]


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_a_mistake_is_told_in_one_sentence(
    override: str, message: str, jobs: list[dict], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", override]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and len(said.splitlines()) == 1
    assert str(Path.home()) not in said
    assert not jobs and list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [["task=drawbench", "task=text_conditional"], ["seed=1", "seed=2"], ["method=none", "method=doodl"]],
)
def test_a_key_stands_once_on_a_line(
    line: list[str], jobs: list[dict], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *line]) == 2
    assert "given 2 times" in capsys.readouterr().err and not jobs


@pytest.mark.parametrize(
    "flags",
    [["--experimental-rerun", "x.pickle"], ["--exp", "x.pickle"], ["-cp", "."], ["--config-name", "other"]],
)
def test_flags_that_bring_other_configurations_are_not_offered(flags: list[str], jobs: list[dict]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["run", *flags])
    assert left.value.code == 2 and not jobs


EVIL = """# @package _global_
hydra:
  callbacks:
    evil: {_target_: os.system, command: touch evil}
"""


def test_a_folder_of_choices_is_held_to_the_same_rules(
    jobs: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"evil": EVIL, "tame": "# @package _global_\ncfg_scale: 2.0\n"}.items():
        (tmp_path / "own" / "extra").mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / "extra" / f"{name}.yaml").write_text(text)
    assert main(["run", "--config-dir", "own", "+extra=evil"]) == 2
    assert "hydra.callbacks" in capsys.readouterr().err and not jobs
    assert not (tmp_path / "evil").exists() and not (tmp_path / "results").exists()
    assert main(["run", "--config-dir", "own", "+extra=tame"]) == 0
    assert jobs[0]["cfg_scale"] == 2.0


def test_nothing_is_resolved_twice(jobs: list[dict]) -> None:
    """An escaped reference is a text, also where a second reading would make a component of it."""
    text = "${oc.create:{_target_: os.system, command: touch evil}}"
    assert main(["run", "dataset=prompts/embedded", f"dataset.prompts=['\\{text}']"]) == 0
    assert jobs[0]["dataset"]["prompts"] == [text]


def test_seeds_are_one_job_and_a_sweep_one_for_each(jobs: list[dict]) -> None:
    assert main(["run", "seed=[0,1,2]"]) == 0
    assert [job["seed"] for job in jobs] == [[0, 1, 2]]
    assert main(["run", "-m", "seed=0,1", "method=none,one_step"]) == 0
    assert [job["seed"] for job in jobs[1:]] == [0, 0, 1, 1]


def test_an_edit_while_a_sweep_runs_reaches_nothing(
    jobs: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    conf = Path(shutil.copytree(shipped("conf"), tmp_path / "conf"))
    monkeypatch.setattr(run, "shipped", lambda name: conf)

    def edit(job: run.Job) -> int:
        jobs.append(job.config)
        (conf / "config.yaml").write_text("broken: [")
        return 0

    monkeypatch.setattr(run, "_run", edit)
    assert main(["run", "-m", "seed=0,1"]) == 0
    assert [job["seed"] for job in jobs] == [0, 1]


def test_every_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = [failures.log_folder(tmp_path) for _ in range(8)]
    assert len(set(folders)) == 8 and all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("name", ["a (b) [c]", "x=y~z", "é,ü {w}", "it's"])
def test_any_path_can_be_given(jobs: list[dict], name: str) -> None:
    assert main(["run", f"paths.results={quoted(name)}"]) == 0
    assert jobs[0]["paths"]["results"] == name
    assert len(list((Path(name) / "runs" / "logs").iterdir())) == 1 and list(Path.cwd().iterdir()) == [
        Path.cwd() / name
    ]


@pytest.mark.parametrize("text", ["plain", "it's", "back\\", "\\'", "a\\\\'b", "(x) [y] {z}, = ~ é", ""])
def test_quoting_reads_back(text: str) -> None:
    assert str(parse([f"key={quoted(text)}"])[0].value()) == text


def test_changing_the_folder_moves_no_store(jobs: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    start, seen = Path.cwd(), []
    monkeypatch.setattr(run, "_run", lambda job: seen.append(Path.cwd()) or 0)
    assert main(["run", "hydra.job.chdir=true"]) == 0
    assert seen == [start] and Path.cwd() == start


def breaking(error: BaseException) -> Outcome:
    def job(job: run.Job) -> int:
        if job.config["seed"] == 0:
            raise error
        return 0

    return job


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SystemExit(0), 1, "sys.exit(0)"),
        (RuntimeError("the network caught fire"), 1, "RuntimeError: the network caught fire"),
        (ConfigError("loss: a\x1b[2Jb"), 2, "loss: a\\x1b[2Jb"),
    ],
)
def test_a_job_fails_alone(
    error: BaseException,
    status: int,
    message: str,
    jobs: list[dict],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run, "_run", breaking(error))
    assert main(["run", "-m", "seed=0,1"]) == status
    said = capsys.readouterr()
    assert message in said.out + said.err and "Traceback" not in said.out + said.err
    logs = list(Path("results/runs/logs").rglob("failure.log"))
    assert [("caught fire" in log.read_text()) for log in logs] == [True] * isinstance(error, RuntimeError)
    assert all(str(log.name) in said.out + said.err for log in logs)
    assert main(["run", "seed=0"]) == status
    assert main(["run", "seed=1"]) == 0


def test_an_interruption_has_a_status(jobs: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_run", breaking(KeyboardInterrupt()))
    assert main(["run", "-m", "seed=0,1"]) == 130


def test_a_fault_of_ours_is_one_line_and_a_file(
    jobs: list[dict], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(run, "_folders", broken)
    assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: a fault" in said and "Traceback" not in said
    assert "in broken" in Path(said.split("traceback in ")[1].strip()).read_text()


def test_a_folder_that_cannot_be_written_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(failures.tempfile, "gettempdir", lambda: str(tmp_path / "file" / "temp"))
    assert failures.told(ValueError("x"), tmp_path / "file") == "ValueError: x"


def test_checks_hold_without_assertions(tmp_path: Path) -> None:
    program = "import sys; from guidebench.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-O", "-c", program, "run", "cfg_scale=nan"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 2 and "cfg_scale: got nan" in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï, 漢字, 🙂\n\tnext", "plain, ünï, 漢字, 🙂\n\tnext"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\u2028b\u202ec\x85d\r", "a\\u2028b\\u202ec\\x85d\\r"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_what_a_console_would_obey_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(ConfigError(text)) == shown


def test_a_service_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from guidebench.runner import loggers

    asked: list[object] = []

    def refuse(address: object, timeout: float) -> None:
        asked.append((address, timeout))
        raise OSError("unreachable")

    loggers._answers.cache_clear()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8443")
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setattr(loggers.socket, "create_connection", refuse)
    start = time.monotonic()
    assert [loggers._mode(None), loggers._mode(None), loggers._mode("online")] == ["offline"] * 3
    assert asked == [(("wandb.example", 8443), loggers._PATIENCE)] and time.monotonic() - start < 1
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert loggers._mode(None) is None and loggers._mode("offline") == "offline"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setattr(loggers.netrc, "netrc", lambda: (_ for _ in ()).throw(FileNotFoundError()))
    assert loggers._mode(None) == "offline"
    loggers._answers.cache_clear()
