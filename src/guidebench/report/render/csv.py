"""Tidy CSV: one line per value and per comparison."""

from __future__ import annotations

import csv
import io
import math

from guidebench.report.layout import Table
from guidebench.report.render.texts import MISSING
from guidebench.report.statistics import Estimate

FIELDS = (
    "section",
    "setting",
    "group",
    "row",
    "against",
    "quantity",
    "kind",
    "unit",
    "value",
    "low",
    "high",
    "holm_low",
    "holm_high",
    "p",
    "p_holm",
    "n",
    "clusters",
    "failures",
    "unevaluated",
    "unmatched",
    "paper",
    "bold",
    "verdict",
)


def to_csv(table: Table) -> str:
    """Six significant digits, empty where missing."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    for block in table.blocks:
        for row in block.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                has_paper = column.beside == "paper"
                missing = cell.estimate.value is None
                writer.writerow(
                    {
                        "section": "value",
                        "setting": table.setting,
                        "group": block.title,
                        "row": row.label,
                        "quantity": column.label,
                        **_estimate(cell.estimate),
                        "failures": cell.failures,
                        "unevaluated": cell.unevaluated,
                        "paper": cell.beside if has_paper else "",
                        "verdict": MISSING if missing else "" if has_paper else cell.beside,
                    }
                )
    for entry in table.comparisons:
        low, high = entry.adjusted or (None, None)
        writer.writerow(
            {
                "section": "comparison",
                "setting": table.setting,
                "group": entry.block,
                "row": entry.row,
                "against": entry.against,
                "quantity": entry.metric,
                "kind": entry.kind,
                "unit": entry.unit,
                **_estimate(entry.estimate),
                "holm_low": _significant(low),
                "holm_high": _significant(high),
                "p": _significant(entry.p_value),
                "p_holm": _significant(entry.p_adjusted),
                "failures": entry.dropped,
                "unmatched": entry.unmatched,
                "paper": entry.paper,
                "bold": int(entry.bold),
                "verdict": entry.verdict,
            }
        )
    return buffer.getvalue()


def _estimate(estimate: Estimate) -> dict[str, str | int]:
    low, high = estimate.interval or (None, None)
    return {
        "value": _significant(estimate.value),
        "low": _significant(low),
        "high": _significant(high),
        "n": estimate.n,
        "clusters": estimate.n_clusters,
    }


def _significant(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value + 0.0:.6g}"
