"""The one exception tree: every error that is the user's to mend derives from `GuidebenchError`.

A message says where (the config path or file), what was received, what is allowed and what to do.
"""

import unicodedata


def printable(text: str) -> str:
    """A text of the user's, safe on a console: controls, separators of lines and marks of direction as escapes.

    Line breaks and tabs stay.
    """
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _UNPRINTABLE else _escaped(c) for c in text
    )


_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class GuidebenchError(Exception):
    """Root of all errors raised on purpose; its message is printable, whatever the user's text in it holds."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(GuidebenchError):
    """A configuration key or value is wrong, or two choices do not go together."""


class DataError(GuidebenchError):
    """A dataset, prompt file or image is missing or malformed."""


class WeightsError(GuidebenchError):
    """A weight file is missing, truncated, unsafe, or does not fit its architecture."""


class NumericalError(GuidebenchError):
    """A sample became non-finite.

    Args:
        step: zero-based stage or optimisation step at which it was seen.
        tensor: name of the first non-finite tensor.
        rows: indices within the batch of the samples concerned.
    """

    def __init__(self, step: int, tensor: str, rows: list[int]) -> None:
        super().__init__(f"{tensor} became non-finite at step {step} (batch rows {rows})")
        self.step, self.tensor, self.rows = step, tensor, rows


class StoreError(GuidebenchError):
    """A stored sample cannot be read or written."""
