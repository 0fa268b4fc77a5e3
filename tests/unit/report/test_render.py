"""Renderings of one table: escaping, fixed formats, line ends."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from guidebench.report.layout import Table
from guidebench.report.paper import parse_numbers
from guidebench.report.render.console import to_text
from guidebench.report.render.csv import to_csv
from guidebench.report.render.document import to_document
from guidebench.report.render.files import write_table, write_text
from guidebench.report.render.html import to_html
from guidebench.report.render.latex import to_latex
from guidebench.report.render.markdown import to_markdown
from guidebench.report.render.texts import format_number
from guidebench.report.spec import TableSpec, parse_spec
from guidebench.report.table import build_costs, build_table

HOSTILE = "<script>alert(1)</script> 50 % & a|b_c #{$1}~^\\"


@pytest.fixture
def table(records: pd.DataFrame, spec: TableSpec, labels: dict[str, str]) -> Table:
    return build_table(records, spec, labels)


@pytest.fixture
def hostile(records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]) -> Table:
    document["title"] = HOSTILE
    document["rows"]["doodl"] = {"label": HOSTILE}
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
    assert format_number(value, decimals, sign) == text


def test_markdown_says_the_setting_before_any_number(table: Table) -> None:
    text = to_markdown(table)
    warning = text.index("Not the paper's setting")
    assert (
        text.index("**Setting: suite embedded, size small, model scenes v1.**") < warning < text.index("0.2")
    )
    assert "(n=39, 1 failed)" in text
    assert "| DALL-E +3.1 %, Reddit +2.6 % |" in text
    assert text.count("Stable Diffusion 1.4, EDICT 50 steps") == 2  # once as a warning, once as a note


def test_bold_only_where_the_adjusted_interval_excludes_zero(table: Table) -> None:
    bold = [entry for entry in table.comparisons if entry.bold]
    assert 0 < len(bold) < len(table.comparisons)
    for entry in table.comparisons:
        low, high = entry.adjusted or (0.0, 0.0)
        assert entry.bold == (low > 0 or high < 0)
    markdown = to_markdown(table).split("## Paired comparisons")[1]
    assert markdown.count("**") == 2 * len(bold)
    assert to_latex(table).count("\\textbf") == len(bold)
    assert to_html(table).count("<strong>") == len(bold)


def test_markdown_tables_keep_their_shape(hostile: Table) -> None:
    for line in to_markdown(hostile).splitlines():
        if line.startswith("|"):
            heads = line.replace("\\|", "").count("|")
            assert heads in {4, 10}
    assert "<script>" not in to_markdown(hostile).replace("\\<script>", "")


def test_latex_is_escaped_and_balanced(hostile: Table) -> None:
    text = to_latex(hostile)
    assert "50 \\% \\& a|b\\_c \\#\\{\\$1\\}\\textasciitilde{}\\textasciicircum{}\\textbackslash{}" in text
    assert text.count("\\begin{") == text.count("\\end{")
    assert "\\toprule" in text
    bare = text.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")


def test_html_is_escaped_and_needs_nothing_else(hostile: Table) -> None:
    text = to_html(hostile)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
    assert "src=" not in text


def test_csv_is_tidy(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
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


@pytest.fixture
def wide(records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]) -> Table:
    """Many columns, long names, a paper's numbers: more than eighty characters can hold side by side."""
    document["rows"]["doodl"] = {"label": "direct optimisation of diffusion latents, whole chain"}
    for name in ("lpips", "fid", "distance from the text"):
        document["columns"][name] = {"higher_is_better": False, "decimals": 4, "unit": "x 1000"}
        records[name] = records["clip_score"] * 1000
    rows = {row: {"lpips": 123.45, "fid": {"DALL-E": 3.5}} for row in ("none", "doodl")}
    numbers = parse_numbers({"setting": "s", "rows": rows}, "paper")
    return build_table(records, parse_spec(document, numbers), labels)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 300])
def test_no_line_is_longer_than_the_terminal_and_no_number_is_cut(wide: Table, width: int) -> None:
    lines = to_text(wide, width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for block in wide.blocks:
        for row in block.rows:
            for column, cell in zip(wide.columns, row.cells, strict=True):
                assert format_number(cell.estimate.value, column.decimals) in text
    for entry in wide.comparisons:
        assert format_number(entry.estimate.value, entry.decimals, sign=True) in text


def test_a_row_is_one_line_of_value_half_width_and_n(table: Table) -> None:
    text = to_text(table, 80)
    line = next(line for line in text.splitlines() if line.startswith("doodl"))
    cell = table.blocks[0].rows[2].cells[0]
    assert cell.estimate.value is not None and cell.estimate.interval is not None
    half = (cell.estimate.interval[1] - cell.estimate.interval[0]) / 2
    assert line.split()[1:4] == [f"{cell.estimate.value:.3f}", "±", f"{half:.3f}"]
    assert line.endswith("39 (1 failed)")
    first = next(line for line in text.splitlines() if line.startswith("better"))
    assert "CLIP score: doodl vs one-step; paper DALL-E +3.1 %" in to_text(table, 120) and "%" in first
    assert text.count("Setting:") == 1 and text.count("cosine, held-out CLIP") == 1


def test_costs_take_one_line_a_row(records: pd.DataFrame, spec: TableSpec, labels: dict[str, str]) -> None:
    lines = to_text(build_costs(records, spec, labels), 80).splitlines()
    for row in spec.rows:
        assert sum(line.startswith(row.label) for line in lines) == 1


def test_the_document_holds_every_number(table: Table) -> None:
    document = to_document(table)
    assert len(document["values"]) == 3 * 3 * 2 and len(document["comparisons"]) == len(table.comparisons)
    doodl = next(v for v in document["values"] if (v["group"], v["row"]) == ("all", "doodl"))
    assert doodl["low"] < doodl["value"] < doodl["high"] and doodl["n"] == 39 and doodl["failures"] == 1


def test_write_table_writes_four_files_with_lf(table: Table, tmp_path: Path) -> None:
    paths = write_table(table, tmp_path / "tables", "doodl_fig5")
    assert [path.name for path in paths] == [
        f"doodl_fig5.{suffix}" for suffix in ("md", "csv", "tex", "html")
    ]
    for path in paths:
        content = path.read_bytes()
        assert b"\r" not in content
        assert content.endswith(b"\n")


def test_a_file_is_replaced_whole_and_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, path = tmp_path / "elsewhere.txt", tmp_path / "table.md"
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    write_text(path, "new")
    assert elsewhere.read_text() == "precious" and path.read_text() == "new" and not path.is_symlink()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "half of it")
    assert path.read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere.txt", "table.md"]
