"""The paired comparisons of a table: one Holm family, each with its change, intervals and finding in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guidebench.report import pairs as paired
from guidebench.report import statistics
from guidebench.report.groups import ALL, Group, SetValues, paper_numbers, paper_text
from guidebench.report.layout import Comparison
from guidebench.report.pairs import HolmStep, Pairs
from guidebench.report.paper import Numbers
from guidebench.report.spec import ComparisonSpec, TableSpec
from guidebench.report.statistics import Estimate, Interval

ALPHA = 0.05
_NO_RATIO = (statistics.UNBOUNDED, statistics.ZERO_DENOMINATOR)


def compare(
    groups: Sequence[Group], names: set[str], spec: TableSpec, set_values: SetValues
) -> tuple[Comparison, ...]:
    """All declared comparisons in the groups they are declared for: one Holm family.

    Args:
        groups: of the table, the one of all cases first.
        names: of the categories.
        spec: the layout.
        set_values: the metrics of whole sets.
    """
    family = [
        (group, declared, _pairs(group, declared, spec, set_values))
        for group in groups
        for declared in spec.comparisons
        if declared.by_group or group.category == ALL or not spec.group_by or len(names) == 1
    ]
    p_values = [paired.paired_p_value(pairs) for _, _, pairs in family]
    steps = paired.holm(p_values, ALPHA)
    return tuple(
        _comparison(group, declared, pairs, p_value, step, names, spec)
        for (group, declared, pairs), p_value, step in zip(family, p_values, steps, strict=True)
    )


def _comparison(
    group: Group,
    declared: ComparisonSpec,
    pairs: Pairs,
    p_value: float | None,
    step: HolmStep,
    names: set[str],
    spec: TableSpec,
) -> Comparison:
    column = spec.column(declared.column)
    printed = spec.paper.change(declared.column, declared.row, declared.against, declared.kind)
    numbers = paper_numbers(printed, group, names)
    difference_unit = "points" if column.unit == "%" else column.unit
    relative = declared.kind == "relative_percent"
    estimate, adjusted, note = _change(pairs, relative, 1 - step.alpha)
    is_ratio = relative and not note
    word, finding = _finding(estimate, adjusted, column.higher_is_better, numbers)
    return Comparison(
        block=group.title,
        metric=column.label,
        row=spec.label(declared.row),
        against=spec.label(declared.against),
        kind="relative change" if is_ratio else f"difference{note}",
        unit="%" if is_ratio else difference_unit,
        decimals=2 if is_ratio else column.decimals,
        estimate=estimate,
        adjusted=adjusted,
        p_value=p_value,
        p_adjusted=step.p_adjusted,
        dropped=pairs.n_dropped,
        unmatched=pairs.n_unmatched,
        paper=paper_text(numbers, "%" if relative else difference_unit, "+"),
        bold=_excludes_zero(adjusted),
        word=word,
        verdict=finding,
    )


def _change(pairs: Pairs, relative: bool, confidence: float) -> tuple[Estimate, Interval | None, str]:
    """The change with its own interval, the adjusted interval, and a note where a ratio was asked for in vain.

    The ratio to a reference that is not clearly different from 0 says nothing: the difference stands for it.
    """
    if relative:
        ratio = paired.relative_change(pairs)
        adjusted = paired.relative_change(pairs, confidence)
        if not {ratio.no_interval, adjusted.no_interval} & set(_NO_RATIO):
            return ratio, adjusted.interval, ""
    difference = paired.paired_difference(pairs)
    note = ", as the reference is near 0" if relative else ""
    return difference, paired.paired_difference(pairs, confidence).interval, note


def _pairs(group: Group, declared: ComparisonSpec, spec: TableSpec, set_values: SetValues) -> Pairs:
    frame = group.frame
    values = frame if declared.column in frame.columns else frame.assign(**{declared.column: float("nan")})
    sides = [values[values["row"] == name] for name in (declared.row, declared.against)]
    set_value = set_values.get(group.block, {}).get(declared.column)
    return paired.pair(sides[0], sides[1], declared.column, spec.cluster_by, set_value)


def _finding(
    estimate: Estimate, adjusted: Interval | None, higher_is_better: bool, paper: Numbers
) -> tuple[str, str]:
    """The finding in a word and in words: how our number stands to the paper's, and what is shown about it."""
    value = estimate.value
    if value is None:
        return (
            ("untested", f"not tested: {estimate.no_interval}")
            if estimate.n
            else ("missing", "missing: no pairs")
        )
    if _excludes_zero(adjusted):
        word = "better" if (value > 0) == higher_is_better else "worse"
        finding = f"{word}, adjusted interval excludes 0"
    elif adjusted is not None:
        word, finding = "open", "no difference shown"
    elif value == 0.0 and estimate.no_interval == statistics.NO_SPREAD:
        word, finding = "equal", "no difference in any cluster"
    else:
        word, finding = "untested", f"not tested: {estimate.no_interval or statistics.UNBOUNDED}"
    return word, _beside_the_paper(finding, value, paper)


def _beside_the_paper(finding: str, value: float, paper: Mapping[str, float]) -> str:
    signs = {number > 0 for number in paper.values() if number != 0.0}
    if len(signs) != 1 or value == 0.0:
        return finding
    return f"{'same sign as' if signs == {value > 0} else 'opposite sign to'} the paper; {finding}"


def _excludes_zero(interval: Interval | None) -> bool:
    return interval is not None and (interval[0] > 0 or interval[1] < 0)
