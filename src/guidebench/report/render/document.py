"""A table as plain containers, for JSON and for data frames."""

from __future__ import annotations

import dataclasses
from typing import Any

from guidebench.report.layout import Table


def to_document(table: Table) -> dict[str, Any]:
    """Title, setting and notes, one record per value, one per comparison."""
    values = [
        {
            "group": block.title,
            "row": row.label,
            "column": column.label,
            **_estimate(cell.estimate),
            "failures": cell.failures,
            "unevaluated": cell.unevaluated,
            column.beside or "beside": cell.beside,
        }
        for block in table.blocks
        for row in block.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]
    comparisons = []
    for entry in table.comparisons:
        fields = {
            f.name: getattr(entry, f.name) for f in dataclasses.fields(entry) if f.name not in ("estimate",)
        }
        comparisons.append(fields | _estimate(entry.estimate))
    return {
        "title": table.title,
        "setting": table.setting,
        "warning": table.warning,
        "values": values,
        "comparisons": comparisons,
        "notes": list(table.notes),
    }


def _estimate(estimate: Any) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    return {
        "value": estimate.value,
        "low": low,
        "high": high,
        "n": estimate.n,
        "clusters": estimate.n_clusters,
        "no_interval": estimate.no_interval,
    }
