"""A self-contained page, light or dark as the browser prefers."""

from __future__ import annotations

import jinja2

from guidebench.report.layout import Table
from guidebench.report.render.texts import (
    COMPARISON_HEADS,
    comparison_texts,
    headline_text,
    row_texts,
    value_heads,
)


def to_html(table: Table) -> str:
    """The whole table."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("guidebench.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("table.html.j2").render(
        table=table,
        headline=headline_text(table.headline) if table.headline else "",
        value_heads=value_heads(table),
        blocks=[
            (
                block,
                [
                    (row.label, list(zip(table.columns, row_texts(table, row), strict=True)))
                    for row in block.rows
                ],
            )
            for block in table.blocks
        ],
        comparison_heads=COMPARISON_HEADS,
        comparisons=[(entry, comparison_texts(entry)) for entry in table.comparisons],
    )
