"""Renderings of one table: escaping, fixed formats, line ends."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from guidebench.report import render
from guidebench.report.spec import parse_spec
from guidebench.report.table import Table, build_table

HOSTILE = "<script>alert(1)</script> 50 % & a|b_c #{$1}~^\\"


@pytest.fixture
def table(records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]) -> Table:
    return build_table(records, parse_spec(document), labels)


@pytest.fixture
def hostile(records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]) -> Table:
    document["title"] = HOSTILE
    document["rows"]["labels"] = {"doodl": HOSTILE}
    return build_table(records, parse_spec(document), labels)


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "text"),
    [
        (None, 2, False, "missing"),
        (-0.0001, 2, False, "0.00"),
        (-0.0001, 2, True, "+0.00"),
        (1.25, 1, True, "+1.2"),
        (-3.0, 0, False, "-3"),
        (1234567.0, 1, False, "1234567.0"),
    ],
)
def test_numbers(value: float | None, decimals: int, sign: bool, text: str) -> None:
    assert render.format_number(value, decimals, sign) == text


def test_markdown_says_the_setting_before_any_number(table: Table) -> None:
    text = render.to_markdown(table)
    warning = text.index("Not the paper's setting")
    assert (
        text.index("**Setting: suite embedded, size small, model scenes v1.**") < warning < text.index("0.2")
    )
    assert "(n=39, 1 failed)" in text
    assert "DALL-E +3.1 %, Reddit +2.6 % (Stable Diffusion 1.4, EDICT 50 steps)" in text


def test_bold_only_where_the_adjusted_interval_excludes_zero(table: Table) -> None:
    bold = [entry for entry in table.comparisons if entry.bold]
    assert 0 < len(bold) < len(table.comparisons)
    for entry in table.comparisons:
        low, high = entry.adjusted or (0.0, 0.0)
        assert entry.bold == (low > 0 or high < 0)
    markdown = render.to_markdown(table).split("## Paired comparisons")[1]
    assert markdown.count("**") == 2 * len(bold)
    assert render.to_latex(table).count("\\textbf") == len(bold)
    assert render.to_html(table).count("<strong>") == len(bold)


def test_markdown_tables_keep_their_shape(hostile: Table) -> None:
    for line in render.to_markdown(hostile).splitlines():
        if line.startswith("|"):
            heads = line.replace("\\|", "").count("|")
            assert heads in {4, 10}
    assert "<script>" not in render.to_markdown(hostile).replace("\\<script>", "")


def test_latex_is_escaped_and_balanced(hostile: Table) -> None:
    text = render.to_latex(hostile)
    assert "50 \\% \\& a|b\\_c \\#\\{\\$1\\}\\textasciitilde{}\\textasciicircum{}\\textbackslash{}" in text
    assert text.count("\\begin{") == text.count("\\end{")
    assert "\\toprule" in text
    bare = text.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")


def test_html_is_escaped_and_needs_nothing_else(hostile: Table) -> None:
    text = render.to_html(hostile)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
    assert "src=" not in text


def test_csv_is_tidy(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(render.to_csv(table))))
    values = [row for row in rows if row["section"] == "value"]
    comparisons = [row for row in rows if row["section"] == "comparison"]
    assert len(values) == 3 * 3 * 2
    assert len(comparisons) == 3 * 2
    doodl = next(
        row for row in values if (row["group"], row["row"], row["quantity"]) == ("all", "doodl", "CLIP score")
    )
    assert float(doodl["low"]) < float(doodl["value"]) < float(doodl["high"])
    assert (doodl["n"], doodl["failures"], doodl["clusters"]) == ("39", "1", "10")
    assert {row["setting"] for row in rows} == {table.setting}


def test_console_prints_values_comparisons_and_the_headline(table: Table) -> None:
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(render.to_console(table))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "n=39, 1 failed" in output
    assert "CLIP score: doodl vs one-step" in output
    assert "Verdict: same sign as the paper; better, adjusted interval excludes 0." in output


def test_write_table_writes_four_files_with_lf(table: Table, tmp_path: Path) -> None:
    paths = render.write_table(table, tmp_path / "tables", "doodl_fig5")
    assert [path.name for path in paths] == [
        f"doodl_fig5.{suffix}" for suffix in ("md", "csv", "tex", "html")
    ]
    for path in paths:
        content = path.read_bytes()
        assert b"\r" not in content
        assert content.endswith(b"\n")
