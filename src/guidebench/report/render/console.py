"""Tables for a terminal of any width: no line is longer, no number is cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from guidebench.report.layout import Block, Cell, Column, Comparison, Table
from guidebench.report.render.texts import (
    comparison_texts,
    format_interval,
    format_number,
    sentence,
    value_heads,
)

_GAP = "  "
_LONGEST_LABEL, _SHORTEST_LABEL = 26, 8


def to_text(table: Table, width: int = 80) -> str:
    """The whole table: rows as value ± half-width, then n; comparisons one line each; the setting and notes once.

    Columns that do not fit side by side follow below, each with the rows' names. An interval that is not symmetric
    stands in brackets. Names that are too long end in "…"; the written files hold them whole.

    Args:
        table: the table.
        width: of the terminal, in characters.
    """
    lines = [*_wrapped(table.title, width), *_wrapped(sentence(table.setting), width)]
    lines += _wrapped(table.warning, width) if table.warning else []
    for block in table.blocks:
        lines += ["", *_wrapped(f"{block.title} ({block.extent})", width), *_block(table, block, width)]
    if table.comparisons:
        lines += ["", *_wrapped("paired comparisons: change [Holm-adjusted interval]", width)]
        lines += _comparisons(table.comparisons, width)
    if table.notes:
        lines += ["", *(line for note in table.notes for line in _wrapped(f"- {note}", width, "  "))]
    return "\n".join(line.rstrip() for line in lines)


def shortened(text: str, width: int) -> str:
    """The text, its end replaced by "…" where it is longer than `width`."""
    return text if len(text) <= width else text[: max(width - 1, 0)].rstrip() + "…"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _block(table: Table, block: Block, width: int) -> list[str]:
    columns = _columns(table, block)
    left = width - len(_GAP) - max(map(_width_of, columns))  # beside the widest column
    longest = max(len(label) for label in (table.row_header, *(row.label for row in block.rows)))
    label_width = max(min(_LONGEST_LABEL, longest, left), _SHORTEST_LABEL)
    heads = [shortened(table.row_header, label_width), *(shortened(r.label, label_width) for r in block.rows)]
    panels = list(_panels(columns, width - label_width))
    lines: list[str] = []
    for i, panel in enumerate(panels):
        lines += [""] * (i > 0) + _panel(heads, label_width, panel)
    return lines


def _columns(table: Table, block: Block) -> list[list[str]]:
    """Head and cells of every printed column: values, what stands beside them, and n."""
    heads = iter(value_heads(table)[1:])
    found: list[list[str]] = []
    counts: list[list[str]] = []
    for i, column in enumerate(table.columns):
        cells = [row.cells[i] for row in block.rows]
        found.append([next(heads), *(_value(cell, column) for cell in cells)])
        counts.append([_count(cell) for cell in cells])
        if column.beside:
            found.append([next(heads), *(cell.beside for cell in cells)])
        last = i + 1 == len(table.columns)
        if last or [_count(row.cells[i + 1]) for row in block.rows] != counts[-1]:
            found.append(["n", *counts[-1]])
    return found


def _value(cell: Cell, column: Column) -> str:
    estimate = cell.estimate
    value = format_number(estimate.value, column.decimals)
    if estimate.value is None or estimate.interval is None:
        return value
    low, high = (estimate.value - estimate.interval[0], estimate.interval[1] - estimate.value)
    half = format_number((low + high) / 2, column.decimals)
    if format_number(low, column.decimals) == format_number(high, column.decimals) == half:
        return f"{value} ± {half}"
    return f"{value} {format_interval(estimate.interval, column.decimals)}"


def _count(cell: Cell) -> str:
    left_out = [f"{cell.failures} failed"] if cell.failures else []
    left_out += [f"{cell.unevaluated} not evaluated"] if cell.unevaluated else []
    return " ".join([str(cell.estimate.n), *([f"({', '.join(left_out)})"] if left_out else [])])


def _panels(columns: Sequence[list[str]], width: int) -> Iterator[list[list[str]]]:
    """As many columns side by side as fit into the width; a column of its own is never split."""
    panel: list[list[str]] = []
    used = 0
    for column in columns:
        needed = len(_GAP) + _width_of(column)
        if panel and used + needed > width:
            yield panel
            panel, used = [], 0
        panel.append(column)
        used += needed
    yield panel


def _width_of(column: Sequence[str]) -> int:
    return max(*map(len, column[1:]), *map(len, _head(column)), 1)


def _head(column: Sequence[str]) -> list[str]:
    """The head in several lines, as wide as the cells or as its longest word."""
    words = column[0].split()
    widest = max(*map(len, column[1:]), *map(len, words), 1)
    return textwrap.wrap(column[0], widest, break_long_words=False, break_on_hyphens=False) or [""]


def _panel(labels: Sequence[str], label_width: int, columns: Sequence[Sequence[str]]) -> list[str]:
    heads = [_head(column) for column in columns]
    height = max(map(len, heads))
    widths = [_width_of(column) for column in columns]
    rows = [[""] * (height - 1) + [labels[0]], *([label] for label in labels[1:])]
    lines = []
    for level in range(height):
        cells = [([""] * (height - len(head)) + head)[level] for head in heads]
        lines.append(_line(rows[0][level], label_width, cells, widths))
    lines.append("-" * len(_line("", label_width, [""] * len(widths), widths)))
    for i, (label,) in enumerate(rows[1:], 1):
        lines.append(_line(label, label_width, [column[i] for column in columns], widths))
    return lines


def _line(label: str, label_width: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(
        [f"{label:<{label_width}}", *(f"{cell:<{w}}" for cell, w in zip(cells, widths, strict=True))]
    )


def _comparisons(comparisons: Sequence[Comparison], width: int) -> list[str]:
    texts = [comparison_texts(entry) for entry in comparisons]
    numbers = [" ".join(filter(None, [t.change, t.adjusted])) for t in texts]
    wide = max(map(len, numbers))
    several = len({entry.block for entry in comparisons}) > 1
    lines, previous = [], None
    for entry, number in zip(comparisons, numbers, strict=True):
        if several and entry.block != previous:
            lines.append(shortened(f"{entry.block}:", width))
            previous = entry.block
        paper = f"; paper {entry.paper}" if entry.paper else ""
        names = f"{entry.metric}: {entry.row} vs {entry.against}{paper}"
        line = f"{entry.word:<8}  {number:<{wide}}  {names}"
        lines.append(shortened(line, width))
    return lines
