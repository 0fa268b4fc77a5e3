"""The nearest allowed word."""

import difflib
from collections.abc import Iterable


def suggestion(word: str, allowed: Iterable[object]) -> str:
    """`did you mean ...? ` for the closest allowed word, or nothing."""
    close = difflib.get_close_matches(word, [str(a) for a in allowed], n=1)
    return f"did you mean {close[0]!r}? " if close else ""
