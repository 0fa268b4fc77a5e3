"""A table as renderers see it: records of text and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from guidebench.report.statistics import Estimate, Interval


@dataclass(frozen=True)
class Column:
    """Head of a column of values.

    Attributes:
        label: printed name, with unit.
        direction: "higher is better", "lower is better" or empty.
        decimals: digits after the decimal point.
        marks: marks such as "primary" or the sign of a footnote.
        beside: head of the column of words beside the values, such as "paper"; empty where there is none.
    """

    label: str
    direction: str
    decimals: int
    marks: str = ""
    beside: str = ""


@dataclass(frozen=True)
class Cell:
    """One number of one row.

    Attributes:
        estimate: value, interval and the number of samples behind it.
        failures: samples that failed and so are not counted.
        unevaluated: samples that succeeded but have no value of this metric.
        beside: what stands beside it, in words: the paper's number, or a verdict; may be empty.
    """

    estimate: Estimate
    failures: int
    unevaluated: int
    beside: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a block."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """The rows for one group of cases.

    Attributes:
        title: name of the group.
        extent: number of prompts and seeds, in words.
        rows: one per configuration.
    """

    title: str
    extent: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Comparison:
    """One paired comparison within one group.

    Attributes:
        block: name of the group.
        metric: printed name of the metric.
        row: printed name of the row of interest.
        against: printed name of the row it is compared with.
        kind: "relative change" or "difference".
        unit: of the change.
        decimals: digits after the decimal point.
        estimate: the change with its own 95 % interval; n counts pairs.
        adjusted: interval at the level that Holm's procedure gave to this comparison.
        p_value: of the paired test.
        p_adjusted: after Holm.
        dropped: pairs not counted because a side failed or has no value.
        unmatched: (case, seed) keys that one side never ran.
        paper: the paper's numbers, in words, or empty.
        bold: whether `adjusted` excludes zero.
        word: the finding in one word: better, worse, open, equal, untested or missing.
        verdict: the finding in words.
    """

    block: str
    metric: str
    row: str
    against: str
    kind: str
    unit: str
    decimals: int
    estimate: Estimate
    adjusted: Interval | None
    p_value: float | None
    p_adjusted: float | None
    dropped: int
    unmatched: int
    paper: str
    bold: bool
    word: str
    verdict: str


@dataclass(frozen=True)
class Table:
    """Everything a renderer prints.

    Attributes:
        title: heading.
        setting: what was run, such as "suite embedded, size small".
        warning: said before any number when the setting is not the paper's; empty when it is.
        headline: the primary comparison over all cases; None where the layout declares none.
        row_header: head of the column of row labels.
        columns: heads of the columns.
        blocks: groups of rows.
        comparisons: paired comparisons, empty for a table of costs.
        notes: how to read the numbers.
    """

    title: str
    setting: str
    warning: str
    headline: Comparison | None
    row_header: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Cells that have no value because nothing of them is stored, beside rows that have some."""
        return sum(
            cell.estimate.value is None and not (cell.failures or cell.unevaluated or cell.estimate.n)
            for block in self.blocks
            for row in block.rows
            for cell in row.cells
        )
