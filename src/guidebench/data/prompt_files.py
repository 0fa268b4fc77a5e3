"""CSV files of categorised prompts, read strictly: what cannot be meant is refused with its line."""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from guidebench.data.case_ids import case_id, slug
from guidebench.errors import DataError

_PROMPT_COLUMNS, _CATEGORY_COLUMN = ("Prompt", "Prompts"), "Category"
_LONGEST = 10_000
_NUMBER = re.compile(r"[-+]?[\d.,]+")
_OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class Case(NamedTuple):
    """One row; `case_id` is `<category>-<index within the category>`, whatever selection is made later."""

    case_id: str
    prompt: str
    category: str


def read_cases(file: Path) -> list[Case]:
    """All rows of a file in its order.

    Args:
        file: UTF-8, with the columns Prompt (or Prompts) and Category.

    Raises:
        DataError: the file is missing, is no such CSV file, or a row cannot be meant; says which line.
    """
    counts: dict[str, int] = {}
    cases = []
    for prompt, category in _rows(file):
        name = slug(category) or case_id(category)
        index = counts.setdefault(name, 0)
        counts[name] += 1
        cases.append(Case(f"{name}-{index:03d}", prompt, category))
    return cases


def tidy(text: str) -> str:
    """Single spaces, none at the ends: DrawBench's file has `Gary Marcus et al. ` with a trailing one."""
    return " ".join(text.split())


def fault(prompt: str) -> str | None:
    """What is wrong with a tidied prompt, in words; None where nothing is."""
    if not prompt:
        return "is empty"
    if len(prompt) > _LONGEST:
        return f"has {len(prompt)} characters, and at most {_LONGEST} are read"
    controls = sorted({sign for sign in prompt if unicodedata.category(sign) == "Cc"})
    return f"holds the control character {controls[0]!r}" if controls else None


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    """Prompt and category of every row, tidied."""
    table = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        header = [column.strip() for column in next(table, [])]
        prompt_column, category_column = _columns(file, header)
        empty = True
        for row in table:
            if row:  # not an empty line
                _check_row(file, table.line_num, row, header, prompt_column)
                yield tidy(row[prompt_column]), tidy(row[category_column])
                empty = False
    except csv.Error as error:
        raise DataError(
            f"{file}, line {table.line_num}: {error}; is a double quote left open, or a value too long?"
        ) from error
    if empty:
        raise DataError(
            f"{file}, line {table.line_num}: nothing follows the header; give at least one prompt."
        )


def _text(file: Path) -> str:
    if not file.is_file():
        raise DataError(f"No prompt file at {file}. It must be a CSV file with the columns Prompt,Category.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    for mark, name in _OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise DataError(f"{file}, line 1: the file is in {name}; save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8 (Latin-1, perhaps); save the "
            "file as UTF-8."
        ) from error


def _columns(file: Path, header: Sequence[str]) -> tuple[int, int]:
    """Where prompt and category stand in a row."""
    prompts = [column for column in _PROMPT_COLUMNS if column in header]
    if not prompts or _CATEGORY_COLUMN not in header:
        raise DataError(
            f"{file}, line 1: the columns are {', '.join(header) or 'none'}; needed are Prompt (or Prompts) and "
            "Category."
        )
    return header.index(prompts[0]), header.index(_CATEGORY_COLUMN)


def _check_row(file: Path, line: int, row: Sequence[str], header: Sequence[str], prompt_column: int) -> None:
    if len(row) != len(header):
        raise DataError(
            f"{file}, line {line}: {len(row)} values for the {len(header)} columns {','.join(header)}; put a prompt "
            "with a comma into double quotes."
        )
    prompt, category = tidy(row[prompt_column]), tidy(row[header.index(_CATEGORY_COLUMN)])
    wrong = fault(prompt) or ("is a number, not text" if _NUMBER.fullmatch(prompt) else None)
    if wrong or fault(category):
        what = f"the prompt {wrong}" if wrong else f"the category {fault(category)}"
        raise DataError(f"{file}, line {line}: {what}; a row needs prompt and category, as text.")
