"""`guidebench`: one console script, one module per command. Nothing heavy is imported before a command needs it."""

import importlib
import logging
import sys
from pathlib import Path

import guidebench
from guidebench.cli import COMMANDS
from guidebench.errors import GuidebenchError

_HELP = """guidebench {version}: guide pretrained diffusion models, compare the methods, regenerate the papers' tables.

usage: guidebench COMMAND [ARGUMENTS]

{commands}

`guidebench COMMAND --help` tells more. Arguments of the form key=value are Hydra overrides, the same everywhere:
  guidebench run method=doodl seed=3
  guidebench run -m method=none,one_step,doodl 'seed=range(0,9)'
  guidebench table doodl/fig5 size=smoke

Exit status: 0 made, 1 jobs or samples failed, 2 refused, 130 interrupted.
Completion of commands and overrides: eval "$(guidebench -sc install=bash)" (or zsh, fish)
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status. No traceback reaches the user: a fault of ours names its file."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        commands = "\n".join(f"  {command:<10} {text}" for command, text in COMMANDS.items())
        print(_HELP.format(version=guidebench.__version__, commands=commands), end="")
        return 0
    if name == "--version":
        print(guidebench.__version__)
        return 0
    if name in ("-sc", "--shell-completion"):
        return int(importlib.import_module("guidebench.cli.completion").main(arguments))
    if name not in COMMANDS:
        from guidebench.runner.suggest import suggestion

        print(
            f"guidebench: no command {name!r}; {suggestion(name, COMMANDS)}there are {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return importlib.import_module(f"guidebench.cli.{name}").main(arguments[1:])
    except GuidebenchError as error:
        print(f"guidebench {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"guidebench {name}: interrupted; what is stored stays, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        from guidebench.cli.failures import told

        results = next((a.partition("=")[2] for a in arguments if a.startswith("paths.results=")), "results")
        print(f"guidebench {name}: {told(error, Path(results) / 'runs' / 'logs')}", file=sys.stderr)
        return 1
