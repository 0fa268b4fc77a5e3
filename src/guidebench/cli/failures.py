"""Faults of ours: one line for the user, the traceback once, in a file that the line names."""

import itertools
import tempfile
import traceback
from datetime import datetime
from pathlib import Path

from guidebench.errors import printable


def told(error: BaseException, folder: Path) -> str:
    """Write an error's traceback below a folder, or elsewhere where that cannot be; returns what to tell the user."""
    text = "".join(traceback.format_exception(error))
    for place in (folder, Path(tempfile.gettempdir())):
        try:
            path = _numbered(place, "failure", ".log")
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return f"{type(error).__name__}: {printable(str(error))}; traceback in {path}"
    return f"{type(error).__name__}: {printable(str(error))}"  # nothing can be written anywhere


def log_folder(results: Path) -> Path:
    """A new folder for the logs of one command, whatever else starts in this second."""
    return _numbered(results / "runs" / "logs", f"{datetime.now():%Y-%m-%d_%H-%M-%S}", "")


def _numbered(folder: Path, name: str, suffix: str) -> Path:
    """Make a folder (without a suffix) or a file that nobody else has, by numbers after the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder / f"{name}{'' if number == 1 else f'_{number}'}{suffix}"
        try:
            path.touch(exist_ok=False) if suffix else path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers end")
