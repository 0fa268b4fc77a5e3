"""Shell completion: command names are ours, overrides are Hydra's. `eval "$(guidebench -sc install=bash)"`."""

import os
import sys

import hydra

from guidebench.cli import COMMANDS
from guidebench.runner import schema
from guidebench.runner.folders import shipped


def main(argv: list[str]) -> int:
    """Answer the shell: a command name first, then overrides as Hydra completes them.

    Args:
        argv: `-sc install=SHELL`, `-sc uninstall=SHELL` or `-sc query=SHELL`.
    """
    line = os.environ.get("COMP_LINE", "")
    if any(argument.startswith("query=") for argument in argv):
        words = line.split()
        typing = words.pop() if words and not line.endswith(" ") else ""
        if len(words) < 2:
            print(" ".join(COMMANDS))
            return 0
        overrides = [word for word in words[2:] if "=" in word]
        os.environ["COMP_LINE"] = " ".join([words[0], *overrides, typing])
    sys.argv = ["guidebench", *argv]
    schema.register()
    hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(lambda _: None)()
    return 0
