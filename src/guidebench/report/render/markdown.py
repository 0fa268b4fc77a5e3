"""GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from guidebench.report.layout import Table
from guidebench.report.render.texts import (
    COMPARISON_HEADS,
    ComparisonTexts,
    comparison_texts,
    headline_text,
    value_grid,
    value_heads,
)


def to_markdown(table: Table) -> str:
    """The whole table."""
    lines = [f"# {_escaped(table.title)}", "", f"**Setting: {_escaped(table.setting)}.**"]
    if table.warning:
        lines += ["", f"> {_escaped(table.warning)}"]
    if table.headline:
        lines += ["", _escaped(headline_text(table.headline))]
    for block in table.blocks:
        lines += ["", f"## {_escaped(block.title)} ({_escaped(block.extent)})", ""]
        lines += _grid(value_heads(table), [list(map(_escaped, line)) for line in value_grid(table, block)])
    if table.comparisons:
        lines += ["", "## Paired comparisons", ""]
        grid = []
        for entry in table.comparisons:
            texts = ComparisonTexts(*map(_escaped, comparison_texts(entry)))
            grid.append(texts._replace(change=f"**{texts.change}**") if entry.bold else texts)
        lines += _grid(COMPARISON_HEADS, grid)
    if table.notes:
        lines += ["", *(f"- {_escaped(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Keeps table pipes, line breaks and markup in free text from being read as Markdown."""
    return re.sub(r"([\\`*|<])", r"\\\1", " ".join(text.split()))


def _grid(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(texts) + " |"
        for texts in (list(map(_escaped, heads)), ["---"] * len(heads), *lines)
    ]
