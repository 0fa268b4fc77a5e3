"""Tables to files: whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from guidebench.report.layout import Table
from guidebench.report.render.csv import to_csv
from guidebench.report.render.html import to_html
from guidebench.report.render.latex import to_latex
from guidebench.report.render.markdown import to_markdown

FORMATS: dict[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "csv": to_csv,
    "tex": to_latex,
    "html": to_html,
}


def write_table(table: Table, directory: Path, stem: str) -> list[Path]:
    """Writes `stem` as md, csv, tex and html, with LF line ends, and returns the paths.

    All formats are rendered before the first is written.
    """
    rendered = {directory / f"{stem}.{suffix}": render(table) for suffix, render in FORMATS.items()}
    for path, text in rendered.items():
        write_text(path, text)
    return list(rendered)


def write_text(path: Path, text: str) -> None:
    """Replaces a file so that a reader sees the old content or the new, never a part, and a crash leaves the old.

    A symbolic link of the name is replaced; what it points to stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
