"""Stored records to tables: a pure function of the records, the declared layout and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from guidebench.errors import DataError
from guidebench.report import notes, statistics
from guidebench.report.comparisons import compare
from guidebench.report.groups import ALL, Group, SetValues, grouped, paper_numbers, paper_text
from guidebench.report.layout import Block, Cell, Column, Row, Table
from guidebench.report.spec import ColumnSpec, TableSpec
from guidebench.report.statistics import Estimate, SetValue


def build_table(
    records: pd.DataFrame,
    spec: TableSpec,
    labels: Mapping[str, str],
    reservations: Mapping[str, str] | None = None,
    set_values: SetValues | None = None,
) -> Table:
    """Tabulates stored samples; the result does not depend on the order of the records.

    Args:
        records: one row per stored sample: `row`, `case_id`, `seed`, `status` ("ok" or "failed"),
            `spec.cluster_by`, `spec.group_by` where set, `block` where the table has blocks, and one column per metric
            (NaN where missing).
        spec: the layout.
        labels: the setting, printed as given; `suite` (embedded, random, full) and `size` (smoke, small,
            paper) are required, since they decide whether the numbers may stand as the paper's setting.
        reservations: what must be said of single columns, by name, marked in their heads; for example that the metric
            shares a network with the guiding loss.
        set_values: the metrics of whole sets.

    Raises:
        ConfigError: a label is missing.
        DataError: a column is missing, a status is unknown, or a row holds one (case_id, seed) more than
            once.
    """
    reservations, set_values = reservations or {}, set_values or {}
    groups = grouped(_prepare(records, spec), spec)
    names = {group.category for group in groups} - {ALL}
    comparisons = compare(groups, names, spec, set_values)
    blocks = tuple(_block(group, names, spec, set_values.get(group.block, {})) for group in groups)
    headline = next(
        (
            entry
            for entry, declared in zip(comparisons, spec.comparisons, strict=False)
            if declared.column == spec.primary
        ),
        None,
    )
    of_sets = {name for values in set_values.values() for name in values}
    return Table(
        title=spec.title,
        setting=notes.setting(labels),
        warning=notes.warning(labels, spec),
        headline=headline,
        row_header="row",
        columns=tuple(
            _column(column, spec, reservations, _beside(blocks, i)) for i, column in enumerate(spec.columns)
        ),
        blocks=blocks,
        comparisons=comparisons,
        notes=notes.notes(spec, reservations, comparisons, of_sets),
    )


def build_costs(records: pd.DataFrame, spec: TableSpec, labels: Mapping[str, str]) -> Table:
    """Time, memory and network evaluations per sample, for the rows of `spec`.

    A table of its own, because times differ from run to run while `build_table` is reproducible to the byte.

    Args:
        records: as for `build_table`, with `seconds`, `peak_memory_mb`, and network rows: `nfe_fwd`,
            `nfe_bwd`, `spent_fwd`, `spent_bwd`.
        spec: the layout; only its rows and blocks are used.
        labels: the setting, printed as given.
    """
    frame = _prepare(records, spec)
    means = {
        "seconds": ColumnSpec("seconds", False, "seconds", decimals=2, skewed=True),
        "nfe_fwd": ColumnSpec("nfe_fwd", False, "forwards", decimals=0),
        "nfe_bwd": ColumnSpec("nfe_bwd", False, "backwards", decimals=0),
        "spent_fwd": ColumnSpec("spent_fwd", False, "run", decimals=0),
        "spent_bwd": ColumnSpec("spent_bwd", False, "run back", decimals=0),
    }
    blocks = []
    for block in spec.blocks or (ALL,):
        mine = frame if block == ALL else frame[frame["block"] == block]
        rows = tuple(Row(row.label, _costs(mine[mine["row"] == row.name], means, spec)) for row in spec.rows)
        blocks.append(Block(block, _extent(mine, spec), rows))
    return Table(
        title=f"{spec.title}: costs per sample",
        setting=notes.setting(labels),
        warning=notes.warning(labels, spec),
        headline=None,
        row_header="row",
        columns=(
            *(Column(column.label, "lower is better", column.decimals) for column in means.values()),
            Column("peak MB", "lower is better", 0),
        ),
        blocks=tuple(blocks),
        comparisons=(),
        notes=(
            "Means over samples that succeeded, 95 % intervals over prompts; times differ from run to run.",
            "Forwards and backwards: network evaluations of the algorithm; beside them those that really ran, fewer where "
            "memory allowed to keep what else is computed twice. Peak: maximum over samples.",
        ),
    )


def _costs(mine: pd.DataFrame, means: Mapping[str, ColumnSpec], spec: TableSpec) -> tuple[Cell, ...]:
    cells = [_cell(mine, column, spec.cluster_by) for column in means.values()]
    memory = _present(mine, "peak_memory_mb")
    value = float(memory.max()) if len(memory) else None
    largest = Estimate(value, None, len(memory), mine[spec.cluster_by].nunique(), "maximum")
    return (*cells, Cell(largest, cells[0].failures, _n_ok(mine) - len(memory)))


def _prepare(records: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """Checks the columns, makes the keys strings and fixes the order of the records."""
    identity = ["row", *(["block"] if spec.blocks else []), "case_id", "seed"]
    keys = [*identity, "status", spec.cluster_by, *([spec.group_by] if spec.group_by else [])]
    for key in (
        spec.cluster_by,
        spec.group_by,
    ):  # of the problem, where the records have no column of that name
        if key and key not in records.columns and f"problem.{key}" in records.columns:
            records = records.assign(**{key: records[f"problem.{key}"]})
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
    frame = frame[frame["row"].isin([row.name for row in spec.rows])]
    repeated = frame[frame.duplicated(identity)]
    if len(repeated):
        row, case_id, seed = repeated.iloc[0][["row", "case_id", "seed"]]
        raise DataError(
            f"row {row!r}, case {case_id!r}, seed {seed} is stored more than once: narrow the records to one "
            "generation config per row"
        )
    return frame.sort_values(identity, kind="stable").reset_index(drop=True)


def _block(group: Group, names: set[str], spec: TableSpec, set_values: Mapping[str, SetValue]) -> Block:
    rows = []
    for row in spec.rows:
        mine = group.frame[group.frame["row"] == row.name]
        cells = []
        for column in spec.columns:
            numbers = paper_numbers(spec.paper.value(row.name, column.name), group, names)
            paper = paper_text(numbers, spec.paper.units.get(column.name, ""))
            cells.append(_cell(mine, column, spec.cluster_by, paper, set_values.get(column.name)))
        rows.append(Row(row.label, tuple(cells)))
    return Block(group.title, _extent(group.frame, spec), tuple(rows))


def _cell(
    records: pd.DataFrame,
    column: ColumnSpec,
    cluster_by: str,
    paper: str = "",
    set_value: SetValue | None = None,
) -> Cell:
    present = _present(records, column.name)
    clusters = records.loc[present.index, cluster_by].tolist()
    if set_value is not None and not present.empty:
        estimate = statistics.set_estimate(set_value, np.stack(present.tolist()), clusters)
    elif column.unit == "%":
        estimate = statistics.clustered_share(present.to_numpy(), clusters)
    elif column.skewed:
        estimate = statistics.skewed_mean(present.to_numpy(), clusters)
    else:
        estimate = statistics.clustered_mean(present.to_numpy(), clusters)
    failures = int(records["status"].eq("failed").sum())
    return Cell(estimate, failures, _n_ok(records) - len(present), paper)


def _column(column: ColumnSpec, spec: TableSpec, reservations: Mapping[str, str], has_paper: bool) -> Column:
    marks = ["primary"] if column.name == spec.primary else []
    marks += ["†"] if column.name in reservations else []
    return Column(
        f"{column.label} ({column.unit})" if column.unit else column.label,
        "higher is better" if column.higher_is_better else "lower is better",
        column.decimals,
        ", ".join(marks),
        "paper" if has_paper else "",
    )


def _beside(blocks: Sequence[Block], column: int) -> bool:
    return any(row.cells[column].beside for block in blocks for row in block.rows)


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
