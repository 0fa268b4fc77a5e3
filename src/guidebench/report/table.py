"""Stored records to tables: a pure function of the records, the declared layout and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from guidebench.errors import ConfigError, DataError
from guidebench.report import statistics
from guidebench.report.spec import ComparisonSpec, MetricSpec, TableSpec
from guidebench.report.statistics import Estimate, Interval, SetValue

ALL = "all"
ALPHA = 0.05


@dataclass(frozen=True)
class Column:
    """Head of a column of values.

    Attributes:
        label: printed name, with unit.
        direction: "higher is better", "lower is better" or empty.
        decimals: digits after the decimal point.
        marks: marks such as "primary" or the sign of a footnote.
    """

    label: str
    direction: str
    decimals: int
    marks: str = ""


@dataclass(frozen=True)
class Cell:
    """One number of one row.

    Attributes:
        estimate: value, interval and the number of samples behind it.
        failures: samples that failed and so are not counted.
        unevaluated: samples that succeeded but have no value of this metric.
        paper: the paper's number, in words, or empty.
        verdict: where there is no paper: what the value is held against and whether it meets it, in words, or empty.
    """

    estimate: Estimate
    failures: int
    unevaluated: int
    paper: str = ""
    verdict: str = ""


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


def build_table(
    records: pd.DataFrame,
    spec: TableSpec,
    labels: Mapping[str, str],
    metric_notes: Mapping[str, str] | None = None,
    set_values: Mapping[str, SetValue] | None = None,
) -> Table:
    """Tabulates stored samples; the result does not depend on the order of the records.

    Args:
        records: one row per stored sample: `spec.rows.key`, `case_id`, `seed`, `status` ("ok" or "failed"),
            `spec.cluster_by`, `spec.group_by` where set, and one column per metric (NaN where missing).
        spec: the layout.
        labels: the setting, printed as given; `suite` (embedded, random, full) and `size` (smoke, small,
            paper) are required, since they decide whether the numbers may stand as the paper's setting.
        metric_notes: reservations about single metrics, by name, marked in the head of the column; for
            example that the metric shares a network with the guiding loss.
        set_values: the metrics of whole sets of samples, by name; their columns hold features (d,).

    Raises:
        ConfigError: a label is missing.
        DataError: a column is missing, a status is unknown, or a row holds one (case_id, seed) more than
            once.
    """
    reservations, set_values = dict(metric_notes or {}), dict(set_values or {})
    frame = _prepare(records, spec)
    groups = _groups(frame, spec)
    group_names = {name for name, _ in groups}
    comparisons = _compare(groups, group_names, spec, set_values)
    headline = next(
        (
            entry
            for entry, declared in zip(comparisons, spec.comparisons, strict=False)
            if declared.metric == spec.primary
        ),
        None,
    )
    return Table(
        title=spec.title,
        setting=_setting(labels),
        warning=_warning(labels, spec),
        headline=headline,
        row_header=spec.rows.key,
        columns=tuple(
            Column(
                label=_with_unit(metric),
                direction="higher is better" if metric.higher_is_better else "lower is better",
                decimals=metric.decimals,
                marks=", ".join(
                    mark
                    for mark, applies in (
                        ("primary", metric.name == spec.primary),
                        ("†", metric.name in reservations),
                    )
                    if applies
                ),
            )
            for metric in spec.metrics
        ),
        blocks=tuple(_block(name, group, group_names, spec, set_values) for name, group in groups),
        comparisons=comparisons,
        notes=_notes(spec, reservations, len(comparisons), set_values),
    )


def build_costs(records: pd.DataFrame, spec: TableSpec, labels: Mapping[str, str]) -> Table:
    """Time, memory and network evaluations per sample, for the rows of `spec`.

    A table of its own, because times differ from run to run while `build_table` is reproducible to the byte.

    Args:
        records: as for `build_table`, with `seconds`, `peak_memory_mb`, `nfe_fwd` and `nfe_bwd`.
        spec: the layout; only its rows are used.
        labels: the setting, printed as given.
    """
    frame = _prepare(records, spec)
    mean_columns = {
        "seconds": ("seconds", 2),
        "nfe_fwd": ("network forwards", 1),
        "nfe_bwd": ("network backwards", 1),
    }
    rows = []
    for value in spec.rows.values:
        mine = frame[frame[spec.rows.key] == value]
        cells = [_cell(mine, column, spec.cluster_by) for column in mean_columns]
        memory = _present(mine, "peak_memory_mb")
        largest = Estimate(
            float(memory.max()) if len(memory) else None,
            None,
            len(memory),
            mine[spec.cluster_by].nunique(),
            "maximum",
        )
        cells.append(Cell(largest, cells[0].failures, _n_ok(mine) - len(memory)))
        rows.append(Row(_row_label(spec, value), tuple(cells)))
    return Table(
        title=f"{spec.title}: costs per sample",
        setting=_setting(labels),
        warning=_warning(labels, spec),
        headline=None,
        row_header=spec.rows.key,
        columns=(
            *(Column(label, "lower is better", decimals) for label, decimals in mean_columns.values()),
            Column("peak memory (MB, maximum)", "lower is better", 0),
        ),
        blocks=(Block(ALL, _extent(frame, spec), tuple(rows)),),
        comparisons=(),
        notes=(
            "Means over samples that succeeded, 95 % t intervals over prompts; times differ from run to run.",
        ),
    )


def _prepare(records: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """Checks the columns, makes the keys strings and fixes the order of the records."""
    keys = [
        spec.rows.key,
        "case_id",
        "seed",
        "status",
        spec.cluster_by,
        *([spec.group_by] if spec.group_by else []),
    ]
    if records.empty:
        records = records.reindex(columns=list(dict.fromkeys([*records.columns, *keys])))
    missing = [key for key in keys if key not in records.columns]
    if missing:
        raise DataError(
            f"the stored records have no column {', '.join(missing)}; they have {', '.join(records.columns)}"
        )
    unknown = sorted(set(records["status"]) - {"ok", "failed"})
    if unknown:
        raise DataError(f"column status: received {', '.join(map(str, unknown))}; allowed: ok, failed")
    texts = dict.fromkeys(key for key in keys if key != "seed")
    frame = records.assign(**{key: records[key].map(str) for key in texts})
    frame = frame[frame[spec.rows.key].isin(spec.rows.values)]
    repeated = frame[frame.duplicated([spec.rows.key, "case_id", "seed"])]
    if len(repeated):
        row, case_id, seed = repeated.iloc[0][[spec.rows.key, "case_id", "seed"]]
        raise DataError(
            f"{spec.rows.key} {row!r}, case {case_id!r}, seed {seed} is stored more than once: several "
            "generation configs share this row; narrow the records to one of them, or choose another rows.key"
        )
    return frame.sort_values([spec.rows.key, "case_id", "seed"], kind="stable").reset_index(drop=True)


def _groups(frame: pd.DataFrame, spec: TableSpec) -> list[tuple[str, pd.DataFrame]]:
    """The block of all cases first, then one per group; a single group is the block of all cases."""
    names = sorted(frame[spec.group_by].unique()) if spec.group_by else []
    if len(names) == 1:
        return [(names[0], frame)]
    return [(ALL, frame), *((name, frame[frame[spec.group_by] == name]) for name in names)]


def _block(
    name: str, group: pd.DataFrame, groups: set[str], spec: TableSpec, set_values: Mapping[str, SetValue]
) -> Block:
    rows = []
    for value in spec.rows.values:
        mine = group[group[spec.rows.key] == value]
        cells = []
        for metric in spec.metrics:
            numbers = next(
                (
                    entry.values
                    for entry in spec.paper_values
                    if (entry.row, entry.metric) == (value, metric.name)
                ),
                {},
            )
            paper = _paper_text(_paper_numbers(numbers, name, groups), spec, metric.unit)
            cells.append(_cell(mine, metric.name, spec.cluster_by, paper, set_values.get(metric.name)))
        rows.append(Row(_row_label(spec, value), tuple(cells)))
    return Block(name, _extent(group, spec), tuple(rows))


def _cell(
    records: pd.DataFrame, column: str, cluster_by: str, paper: str = "", set_value: SetValue | None = None
) -> Cell:
    present = _present(records, column)
    clusters = records.loc[present.index, cluster_by].tolist()
    return Cell(
        estimate=statistics.clustered_mean(present.to_numpy(), clusters)
        if set_value is None or present.empty
        else statistics.set_estimate(set_value, np.stack(present.tolist()), clusters),
        failures=int(records["status"].eq("failed").sum()),
        unevaluated=_n_ok(records) - len(present),
        paper=paper,
    )


def _compare(
    groups: Sequence[tuple[str, pd.DataFrame]],
    group_names: set[str],
    spec: TableSpec,
    set_values: Mapping[str, SetValue],
) -> tuple[Comparison, ...]:
    """All declared comparisons in the groups they are declared for: one Holm family."""
    family = [
        (name, declared, _pairs(group, declared, spec, set_values.get(declared.metric)))
        for name, group in groups
        for declared in spec.comparisons
        if declared.by_group or name == ALL
    ]
    p_values = [statistics.paired_p_value(pairs) for _, _, pairs in family]
    comparisons = []
    for (name, declared, pairs), p_value, step in zip(
        family, p_values, statistics.holm(p_values, ALPHA), strict=True
    ):
        metric = spec.metric(declared.metric)
        relative = declared.kind == "relative_percent"
        change = statistics.relative_change if relative else statistics.paired_difference
        estimate = change(pairs)
        difference_unit = "points" if metric.unit == "%" else metric.unit
        decimals, unit = (2, "%") if relative else (metric.decimals, difference_unit)
        adjusted = change(pairs, 1 - step.alpha).interval
        numbers = _paper_numbers(declared.paper, name, group_names)
        comparisons.append(
            Comparison(
                block=name,
                metric=metric.label,
                row=_row_label(spec, declared.row),
                against=_row_label(spec, declared.against),
                kind="relative change" if relative else "difference",
                unit=unit,
                decimals=decimals,
                estimate=estimate,
                adjusted=adjusted,
                p_value=p_value,
                p_adjusted=step.p_adjusted,
                dropped=pairs.n_dropped,
                unmatched=pairs.n_unmatched,
                paper=_paper_text(numbers, spec, unit, "+"),
                bold=_excludes_zero(adjusted),
                verdict=_verdict(estimate, adjusted, metric, numbers),
            )
        )
    return tuple(comparisons)


def _pairs(
    group: pd.DataFrame, declared: ComparisonSpec, spec: TableSpec, set_value: SetValue | None
) -> statistics.Pairs:
    values = group if declared.metric in group.columns else group.assign(**{declared.metric: float("nan")})
    sides = [values[values[spec.rows.key] == value] for value in (declared.row, declared.against)]
    return statistics.pair(sides[0], sides[1], declared.metric, spec.cluster_by, set_value)


def _verdict(
    estimate: Estimate, adjusted: Interval | None, metric: MetricSpec, paper: Mapping[str, float]
) -> str:
    """The finding in words: how our number stands to the paper's, and what is shown about it."""
    value = estimate.value
    if value is None:
        return f"not tested: {estimate.no_interval}" if estimate.n else "missing: no pairs"
    if _excludes_zero(adjusted):
        finding = (
            f"{'better' if (value > 0) == metric.higher_is_better else 'worse'}, adjusted interval excludes 0"
        )
    elif adjusted is not None:
        finding = "no difference shown"
    elif value == 0.0 and estimate.no_interval == statistics.NO_SPREAD:
        finding = "no difference in any cluster"
    else:
        finding = f"not tested: {estimate.no_interval or statistics.UNBOUNDED}"
    signs = {number > 0 for number in paper.values() if number != 0.0}
    if len(signs) != 1 or value == 0.0:
        return finding
    return f"{'same sign as' if signs == {value > 0} else 'opposite sign to'} the paper; {finding}"


def _excludes_zero(interval: Interval | None) -> bool:
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def _paper_numbers(numbers: Mapping[str, float], name: str, groups: set[str]) -> Mapping[str, float]:
    """The paper's numbers that belong beside the group `name`.

    A group that the paper reports takes its own number. Numbers for groups that the records do not have stand
    beside the block of all cases, under the paper's names; no other group borrows them.
    """
    if name in numbers:
        return {name: numbers[name]}
    if name == ALL or len(groups) == 1:
        return {group: number for group, number in numbers.items() if group not in groups}
    return {}


def _paper_text(numbers: Mapping[str, float], spec: TableSpec, unit: str, sign: str = "") -> str:
    """The numbers as the paper prints them, under its own group names and with its setting."""
    if not numbers:
        return ""
    suffix = f" {unit}" if unit else ""
    listed = ", ".join(f"{group} {number:{sign}g}{suffix}" for group, number in numbers.items())
    return f"{listed} ({spec.paper_setting})"


def _setting(labels: Mapping[str, str]) -> str:
    for required in ("suite", "size"):
        if required not in labels:
            raise ConfigError(
                f"labels: {required!r} is missing; a table must say which suite and size it was run at"
            )
    return ", ".join(f"{name} {value}" for name, value in labels.items())


def _warning(labels: Mapping[str, str], spec: TableSpec) -> str:
    beside = f"The paper's numbers were measured with {spec.paper_setting}."
    if labels["suite"] == "random":
        return f"Not the paper's setting: random weights, so only the costs mean anything. {beside}"
    if labels["suite"] != "full":
        return (
            f"Not the paper's setting: real measurements of small models ({labels['suite']} suite). {beside}"
        )
    if labels["size"] != "paper":
        return f"Not the paper's setting: the paper's models at size {labels['size']}. {beside}"
    if labels.get("overrides"):
        return f"Not the paper's setting: the paper's models with {labels['overrides']}. {beside}"
    return ""


def _notes(
    spec: TableSpec,
    reservations: Mapping[str, str],
    n_comparisons: int,
    set_values: Mapping[str, SetValue],
) -> tuple[str, ...]:
    unit = spec.cluster_by
    values = (
        f"Values: mean over {unit}s of the {unit} means, with a 95 % t interval over {unit}s. An interval is "
        "missing, and its reason printed, where the data allow none. n counts samples; failed ones are "
        "listed, never counted."
    )
    notes = [values]
    of_sets = [metric.label for metric in spec.metrics if metric.name in set_values]
    if of_sets:
        notes.append(
            f"{', '.join(of_sets)}: one value of all samples of a cell together; the interval is a t interval over "
            f"jackknife pseudo-values, leaving out {unit}s in at most {statistics.GROUPS} groups, with the reference "
            "images held fixed. Comparisons use the same pseudo-values."
        )
    if n_comparisons:
        notes.append(
            f"Comparisons: paired on shared (case, seed), paired t test on {unit} means; relative changes "
            "are ratios of means with Fieller's interval. Holm's procedure over the "
            f"{n_comparisons} comparisons of this table, familywise level {ALPHA:g}; bold where the "
            "Holm-adjusted interval excludes 0."
        )
    notes += [f"{metric.label}: {metric.protocol}" for metric in spec.metrics if metric.protocol]
    notes += [
        f"† {metric.label}: {reservations[metric.name]}"
        for metric in spec.metrics
        if metric.name in reservations
    ]
    if spec.expected:
        notes.append(f"Expected from the paper: {spec.expected}")
    return tuple(notes)


def _extent(group: pd.DataFrame, spec: TableSpec) -> str:
    counts = {spec.cluster_by: group[spec.cluster_by].nunique(), "seed": group["seed"].nunique()}
    return ", ".join(f"{count} {unit}{'' if count == 1 else 's'}" for unit, count in counts.items())


def _present(records: pd.DataFrame, column: str) -> pd.Series:
    """Finite values, or features, of the samples that succeeded; none where the column does not exist."""
    if column not in records.columns:
        return pd.Series(dtype="float64")
    values = records.loc[records["status"] == "ok", column]
    return values[statistics.is_present(values)]


def _n_ok(records: pd.DataFrame) -> int:
    return int(records["status"].eq("ok").sum())


def _row_label(spec: TableSpec, value: str) -> str:
    return spec.rows.labels.get(value, value)


def _with_unit(metric: MetricSpec) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label
