"""Numbers, intervals and comparisons as text, the same in every format."""

from __future__ import annotations

from typing import NamedTuple

from guidebench.report.layout import Block, Cell, Comparison, Row, Table
from guidebench.report.statistics import UNBOUNDED, Interval

MISSING = "missing"


class ComparisonTexts(NamedTuple):
    """The printed texts of one comparison, in the order of `COMPARISON_HEADS`."""

    group: str
    comparison: str
    change: str
    interval: str
    adjusted: str
    p_adjusted: str
    pairs: str
    paper: str
    verdict: str


COMPARISON_HEADS = ComparisonTexts(
    group="group",
    comparison="comparison",
    change="change",
    interval="95 % interval",
    adjusted="Holm-adjusted interval",
    p_adjusted="p (Holm)",
    pairs="pairs",
    paper="paper",
    verdict="verdict",
)


class CellTexts(NamedTuple):
    """The printed texts of one cell.

    Attributes:
        value: the number, or "missing".
        interval: in brackets, or the reason why there is none, or empty.
        counts: of samples.
        beside: the words beside it.
    """

    value: str
    interval: str
    counts: str
    beside: str


def headline_text(entry: Comparison) -> str:
    """The primary comparison in one sentence."""
    texts = comparison_texts(entry)
    change = f"{texts.change}, 95 % interval {texts.interval}" if texts.interval else texts.change
    paper = f" Paper: {entry.paper}." if entry.paper else ""
    return f"{texts.comparison}, {entry.block}: {change}.{paper} Verdict: {entry.verdict}."


def format_number(value: float | None, decimals: int, sign: bool = False) -> str:
    """Fixed-point text, without negative zero; the word "missing" for None."""
    if value is None:
        return MISSING
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if sign else ''}.{decimals}f}"


def format_interval(interval: Interval | None, decimals: int, sign: bool = False, otherwise: str = "") -> str:
    """In brackets; the reason where there is none."""
    if interval is None:
        return f"[{otherwise}]" if otherwise else ""
    return f"[{format_number(interval[0], decimals, sign)}, {format_number(interval[1], decimals, sign)}]"


def cell_texts(cell: Cell, decimals: int) -> CellTexts:
    """Value, interval, counts, and what stands beside one cell."""
    estimate = cell.estimate
    counts = [f"n={estimate.n}"]
    counts += [f"{cell.failures} failed"] if cell.failures else []
    counts += [f"{cell.unevaluated} not evaluated"] if cell.unevaluated else []
    return CellTexts(
        format_number(estimate.value, decimals),
        format_interval(estimate.interval, decimals, otherwise=estimate.no_interval),
        ", ".join(counts),
        cell.beside,
    )


def row_texts(table: Table, row: Row) -> list[CellTexts]:
    """The texts of each cell of a row."""
    return [cell_texts(cell, column.decimals) for column, cell in zip(table.columns, row.cells, strict=True)]


def value_heads(table: Table) -> list[str]:
    """Heads of the row labels, of each column, and of what stands beside it."""
    arrows = {"higher is better": " ↑", "lower is better": " ↓", "": ""}
    heads = [table.row_header]
    for column in table.columns:
        marks = f" ({column.marks})" if column.marks else ""
        heads.append(f"{column.label}{arrows[column.direction]}{marks}")
        heads += [column.beside] if column.beside else []
    return heads


def value_grid(table: Table, block: Block) -> list[list[str]]:
    """The lines of a block under `value_heads`."""
    grid = []
    for row in block.rows:
        line = [row.label]
        for column, texts in zip(table.columns, row_texts(table, row), strict=True):
            line.append(" ".join(filter(None, [texts.value, texts.interval, f"({texts.counts})"])))
            line += [texts.beside] if column.beside else []
        grid.append(line)
    return grid


def comparison_texts(entry: Comparison) -> ComparisonTexts:
    """One line of the comparisons."""
    change = format_number(entry.estimate.value, entry.decimals, sign=True)
    if entry.estimate.value is not None and entry.unit:
        change = f"{change} {entry.unit}"
    left_out = [f"{entry.dropped} dropped"] if entry.dropped else []
    left_out += [f"{entry.unmatched} unmatched"] if entry.unmatched else []
    reason = entry.estimate.no_interval
    return ComparisonTexts(
        group=entry.block,
        comparison=f"{entry.metric}: {entry.row} vs {entry.against} ({entry.kind})",
        change=change,
        interval=format_interval(entry.estimate.interval, entry.decimals, True, reason),
        adjusted=format_interval(
            entry.adjusted, entry.decimals, True, reason or (UNBOUNDED if entry.estimate.interval else "")
        ),
        p_adjusted=_format_p(entry.p_adjusted),
        pairs=f"{entry.estimate.n}" + (f" ({', '.join(left_out)})" if left_out else ""),
        paper=entry.paper,
        verdict=entry.verdict,
    )


def sentence(setting: str) -> str:
    """The setting as a sentence."""
    return f"Setting: {setting}."


def _format_p(p_value: float | None) -> str:
    if p_value is None:
        return MISSING
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
