"""Printing that never fails: on an ASCII console, into a closed pipe, at any width."""

import json
import math
import os
import shutil
import sys
from typing import Any, TextIO

from guidebench.errors import printable

_PLAIN = str.maketrans(
    {"±": "+/-", "…": "...", "↑": "^", "↓": "v", "²": "2", "†": "+", "·": "-", "’": "'", "×": "x"}
)
"""What stands for characters that a console cannot show."""


def say(*texts: str) -> None:
    """Print lines; what the console cannot show or would obey is written in other characters, a closed pipe ends it."""
    stream = sys.stdout
    try:
        for text in texts:
            stream.write(_encodable(printable(text), getattr(stream, "encoding", None) or "utf-8") + "\n")
        stream.flush()
    except (OSError, ValueError):  # nobody reads any more; files are written already
        _close(stream)


def say_json(content: Any) -> None:
    """Print one JSON document; numbers that JSON does not know are null."""
    say(json.dumps(_finite(content), indent=1, ensure_ascii=True, default=str))


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return text


def _close(stream: TextIO) -> None:
    """Let the interpreter's last flush go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        return


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
