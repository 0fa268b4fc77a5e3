"""A LaTeX fragment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from guidebench.report.layout import Table
from guidebench.report.render.texts import (
    COMPARISON_HEADS,
    ComparisonTexts,
    comparison_texts,
    sentence,
    value_grid,
    value_heads,
)


def to_latex(table: Table) -> str:
    """A LaTeX fragment to be read by `input`; needs the packages booktabs and graphicx."""
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_escaped(table.title)}. {_escaped(sentence(table.setting))} {_escaped(table.warning)}".rstrip()
        + "}",
    ]
    heads = value_heads(table)
    lines += _tabular_start("l" * len(heads), heads)
    for block in table.blocks:
        extent = _escaped(f"{block.title} ({block.extent})")
        lines += ["\\midrule", f"\\multicolumn{{{len(heads)}}}{{l}}{{\\emph{{{extent}}}}} \\\\"]
        lines += [" & ".join(map(_escaped, line)) + " \\\\" for line in value_grid(table, block)]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if table.comparisons:
        lines += ["", "\\medskip"]
        lines += [*_tabular_start("l" * len(COMPARISON_HEADS), COMPARISON_HEADS), "\\midrule"]
        for entry in table.comparisons:
            texts = ComparisonTexts(*map(_escaped, comparison_texts(entry)))
            if entry.bold:
                texts = texts._replace(change=f"\\textbf{{{texts.change}}}")
            lines.append(" & ".join(texts) + " \\\\")
        lines += ["\\bottomrule", "\\end{tabular}}"]
    lines += ["", "\\medskip", "\\begin{minipage}{\\linewidth}\\footnotesize"]
    lines += [_escaped(note) + "\\par" for note in table.notes]
    lines += ["\\end{minipage}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _tabular_start(alignment: str, heads: Sequence[str]) -> list[str]:
    return [
        f"\\resizebox{{\\linewidth}}{{!}}{{\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        " & ".join(map(_escaped, heads)) + " \\\\",
    ]


_ESCAPES = {
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
_MINUS = re.compile(r"(?<![\w\]])-(?=\d)")


def _escaped(text: str) -> str:
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return _MINUS.sub("$-$", escaped)
