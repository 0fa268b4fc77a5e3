"""The console script: help, exit statuses, and a start that imports nothing heavy."""

import json
import subprocess
import sys

import pytest

import guidebench
from guidebench.cli import COMMANDS
from guidebench.cli.main import main

HEAVY = ("torch", "diffusers", "transformers", "open_clip", "pandas", "scipy", "wandb")


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == guidebench.__version__


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"run"}))  # Hydra prints the help of `run`
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"usage: guidebench {command}" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tabel"]) == 2
    assert "did you mean 'table'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "methd=none"], "'method'"),
        (["run", "-m", "method=none,dodl"], "'doodl'"),
        (["table", "doodl/fig6"], "did you mean 'doodl/fig5'"),
        (["table", "doodl/paper"], "allowed: "),
        (["table", "doodl/fig5", "size=smal"], "did you mean 'small'"),
        (["plan", "doodl/fig5", "loss._target_=os.system"], "os.system"),
    ],
)
def test_a_users_mistake_is_one_message_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"guidebench {arguments[0]}: ") and message in said and "Traceback" not in said


def test_list_shows_what_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "doodl",
        "one_step",
        "clip_text",
        "edict",
        "checkpointed",
        "sd14",
        "doodl/fig5",
        "DOODL, Figure 5",
    ):
        assert expected in shown
    assert main(["list", "methods"]) == 0
    methods = capsys.readouterr().out
    assert "doodl" in methods and "dpm_solver" not in methods


def test_list_fits_the_terminal_and_shows_one_as_a_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.split()[:1] == ["lgd_mc"] for line in lines) == 1, "one line per component"
    assert main(["list", "method", "lgd_mc"]) == 0
    whole = capsys.readouterr().out
    assert "_target_: guidebench.methods.posterior.lgd_mc.LGDMC" in whole and "LGD, Eq. 9" in whole
    assert main(["list", "loss", "--json"]) == 0
    losses = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["loss"]}
    assert losses["clip_text"]["reads"] == "prompt"
    with pytest.raises(SystemExit):
        main(["list", "method", "lgd_cm"])
    assert "did you mean 'lgd_mc'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--cfg", "job"]])
def test_start_up_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from guidebench.cli.main import main\n"
        f"status = main({arguments!r})\n"
        f"print(status, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("0 []")


def test_cfg_job_prints_the_composed_job() -> None:
    program = "from guidebench.cli.main import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "run", "--cfg", "job", "method=doodl", "seed=3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\nseed: 3\n" in done.stdout
    assert "_target_: guidebench.methods.end_to_end.doodl.DOODL" in done.stdout
