"""Tables to Markdown, CSV, LaTeX, HTML and the terminal; the same table always gives the same bytes."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from guidebench.report.statistics import UNBOUNDED, Estimate, Interval
from guidebench.report.table import Block, Cell, Comparison, Row, Table

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
CSV_FIELDS = (
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


def to_markdown(table: Table) -> str:
    """GitHub-flavoured Markdown."""
    lines = [f"# {_md(table.title)}", "", f"**Setting: {_md(table.setting)}.**"]
    if table.warning:
        lines += ["", f"> {_md(table.warning)}"]
    if table.headline:
        lines += ["", _md(headline_text(table.headline))]
    for block in table.blocks:
        lines += ["", f"## {_md(block.title)} ({_md(block.extent)})", ""]
        lines += _md_grid(_value_heads(table), [list(map(_md, line)) for line in _value_grid(table, block)])
    if table.comparisons:
        lines += ["", "## Paired comparisons", ""]
        grid = []
        for entry in table.comparisons:
            texts = ComparisonTexts(*map(_md, _comparison_texts(entry)))
            grid.append(texts._replace(change=f"**{texts.change}**") if entry.bold else texts)
        lines += _md_grid(COMPARISON_HEADS, grid)
    if table.notes:
        lines += ["", *(f"- {_md(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Tidy CSV: one line per value and per comparison, six significant digits, empty where missing."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    for block in table.blocks:
        for row in block.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                writer.writerow(
                    {
                        "section": "value",
                        "setting": table.setting,
                        "group": block.title,
                        "row": row.label,
                        "quantity": column.label,
                        **_csv_estimate(cell.estimate),
                        "failures": cell.failures,
                        "unevaluated": cell.unevaluated,
                        "paper": cell.paper,
                        "verdict": cell.verdict if cell.estimate.value is not None else MISSING,
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
                **_csv_estimate(entry.estimate),
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


def to_latex(table: Table) -> str:
    """A LaTeX fragment to be read by `input`; needs the packages booktabs and graphicx."""
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(table.title)}. {_tex(_sentence(table.setting))} {_tex(table.warning)}".rstrip()
        + "}",
    ]
    heads = _value_heads(table)
    lines += _tex_tabular_start("l" * len(heads), heads)
    for block in table.blocks:
        extent = _tex(f"{block.title} ({block.extent})")
        lines += ["\\midrule", f"\\multicolumn{{{len(heads)}}}{{l}}{{\\emph{{{extent}}}}} \\\\"]
        lines += [" & ".join(map(_tex, line)) + " \\\\" for line in _value_grid(table, block)]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if table.comparisons:
        lines += ["", "\\medskip"]
        lines += [*_tex_tabular_start("l" * len(COMPARISON_HEADS), COMPARISON_HEADS), "\\midrule"]
        for entry in table.comparisons:
            texts = ComparisonTexts(*map(_tex, _comparison_texts(entry)))
            if entry.bold:
                texts = texts._replace(change=f"\\textbf{{{texts.change}}}")
            lines.append(" & ".join(texts) + " \\\\")
        lines += ["\\bottomrule", "\\end{tabular}}"]
    lines += ["", "\\medskip", "\\begin{minipage}{\\linewidth}\\footnotesize"]
    lines += [_tex(note) + "\\par" for note in table.notes]
    lines += ["\\end{minipage}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A self-contained page, light or dark as the browser prefers."""
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
        value_heads=_value_heads(table),
        blocks=[
            (block, [(row.label, _row_parts(table, row)) for row in block.rows]) for block in table.blocks
        ],
        comparison_heads=COMPARISON_HEADS,
        comparisons=[(entry, _comparison_texts(entry)) for entry in table.comparisons],
    )


def to_console(table: Table) -> RenderableType:
    """A renderable for `rich.console.Console.print`."""
    parts: list[RenderableType] = [Text(table.title, style="bold"), Text(_sentence(table.setting))]
    if table.warning:
        parts.append(Text(table.warning, style="yellow"))
    values = RichTable(show_edge=False, pad_edge=False)
    for head in _value_heads(table):
        values.add_column(Text(head))
    for i, block in enumerate(table.blocks):
        if i:
            values.add_section()
        values.add_row(Text(f"{block.title} ({block.extent})", style="italic"))
        for row in block.rows:
            values.add_row(
                Text(f"  {row.label}"),
                *(
                    Text("\n".join(filter(None, [f"{value} {interval}", counts, paper])))
                    for value, interval, counts, paper in _row_parts(table, row)
                ),
            )
    parts += [Text(), values]
    if table.comparisons:
        compared = RichTable(
            show_edge=False, pad_edge=False, title="Paired comparisons", title_justify="left"
        )
        for head in ("comparison", "change", "Holm-adjusted", "pairs", "paper", "verdict"):
            compared.add_column(Text(head), no_wrap=head in {"change", "Holm-adjusted"})
        previous = ""
        for entry in table.comparisons:
            if entry.block != previous:
                compared.add_section()
                compared.add_row(Text(entry.block, style="italic"))
                previous = entry.block
            texts = _comparison_texts(entry)
            compared.add_row(
                Text(f"  {entry.metric}: {entry.row} vs {entry.against}"),
                Text(texts.change, style="bold" if entry.bold else ""),
                *map(Text, (texts.adjusted, texts.pairs, texts.paper, texts.verdict)),
            )
        parts += [Text(), compared]
    if table.headline:
        parts += [Text(), Text(headline_text(table.headline), style="bold")]
    return Group(*parts)


def write_table(table: Table, directory: Path, stem: str) -> list[Path]:
    """Writes `stem` as md, csv, tex and html, with LF line ends, and returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex), ("html", to_html)):
        path = directory / f"{stem}.{suffix}"
        path.write_text(render(table), encoding="utf-8", newline="\n")
        written.append(path)
    return written


def headline_text(entry: Comparison) -> str:
    """The primary comparison in one sentence."""
    texts = _comparison_texts(entry)
    change = f"{texts.change}, 95 % interval {texts.interval}" if texts.interval else texts.change
    paper = f" Paper: {entry.paper}." if entry.paper else ""
    return f"{texts.comparison}, {entry.block}: {change}.{paper} Verdict: {entry.verdict}."


def format_number(value: float | None, decimals: int, sign: bool = False) -> str:
    """Fixed-point text, without negative zero; the word "missing" for None."""
    if value is None:
        return MISSING
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if sign else ''}.{decimals}f}"


def _format_interval(interval: Interval | None, decimals: int, sign: bool, otherwise: str) -> str:
    if interval is None:
        return f"[{otherwise}]" if otherwise else ""
    return f"[{format_number(interval[0], decimals, sign)}, {format_number(interval[1], decimals, sign)}]"


def _row_parts(table: Table, row: Row) -> list[tuple[str, str, str, str]]:
    return [_parts(cell, column.decimals) for column, cell in zip(table.columns, row.cells, strict=True)]


def _parts(cell: Cell, decimals: int) -> tuple[str, str, str, str]:
    """Value, interval, counts, and the paper's number or the verdict of one cell."""
    estimate = cell.estimate
    counts = [f"n={estimate.n}"]
    counts += [f"{cell.failures} failed"] if cell.failures else []
    counts += [f"{cell.unevaluated} not evaluated"] if cell.unevaluated else []
    return (
        format_number(estimate.value, decimals),
        _format_interval(estimate.interval, decimals, False, estimate.no_interval),
        ", ".join(counts),
        f"paper: {cell.paper}" if cell.paper else cell.verdict,
    )


def _value_heads(table: Table) -> list[str]:
    arrows = {"higher is better": " ↑", "lower is better": " ↓", "": ""}
    return [
        table.row_header,
        *(
            f"{column.label}{arrows[column.direction]}{f' ({column.marks})' if column.marks else ''}"
            for column in table.columns
        ),
    ]


def _value_grid(table: Table, block: Block) -> list[list[str]]:
    return [
        [
            row.label,
            *(
                " ".join(filter(None, [value, interval, f"({counts})", paper]))
                for value, interval, counts, paper in _row_parts(table, row)
            ),
        ]
        for row in block.rows
    ]


def _comparison_texts(entry: Comparison) -> ComparisonTexts:
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
        interval=_format_interval(entry.estimate.interval, entry.decimals, True, reason),
        adjusted=_format_interval(
            entry.adjusted, entry.decimals, True, reason or (UNBOUNDED if entry.estimate.interval else "")
        ),
        p_adjusted=_format_p(entry.p_adjusted),
        pairs=f"{entry.estimate.n}" + (f" ({', '.join(left_out)})" if left_out else ""),
        paper=entry.paper,
        verdict=entry.verdict,
    )


def _format_p(p_value: float | None) -> str:
    if p_value is None:
        return MISSING
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _csv_estimate(estimate: Estimate) -> dict[str, str | int]:
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


def _sentence(setting: str) -> str:
    return f"Setting: {setting}."


def _md(text: str) -> str:
    """Keeps table pipes, line breaks and markup in free text from being read as Markdown."""
    return re.sub(r"([\\`*|<])", r"\\\1", " ".join(text.split()))


def _md_grid(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(texts) + " |" for texts in (list(map(_md, heads)), ["---"] * len(heads), *lines)
    ]


def _tex_tabular_start(alignment: str, heads: Sequence[str]) -> list[str]:
    return [
        f"\\resizebox{{\\linewidth}}{{!}}{{\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        " & ".join(map(_tex, heads)) + " \\\\",
    ]


_TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"\dag{}",
}
_TEX_MINUS = re.compile(r"(?<![\w\]])-(?=\d)")


def _tex(text: str) -> str:
    escaped = "".join(_TEX_ESCAPES.get(character, character) for character in text)
    return _TEX_MINUS.sub("$-$", escaped)
