"""What a table shows, declared before its sweep: rows, metrics, comparisons and the paper's own numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from guidebench.errors import ConfigError

ComparisonKind = Literal["relative_percent", "difference"]

T = TypeVar("T")


@dataclass(frozen=True)
class RowsSpec:
    """The rows of every block.

    Attributes:
        key: column of the records that tells the rows apart, such as `method` or a sweep key.
        values: values of that column, in the order of printing.
        labels: printed name of a value, where it differs from the value.
    """

    key: str
    values: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class MetricSpec:
    """One metric column.

    Attributes:
        name: column of the records.
        higher_is_better: direction.
        label: printed name.
        unit: printed after the name; empty for a pure number.
        decimals: digits after the decimal point.
        protocol: how it was measured, printed below the table.
    """

    name: str
    higher_is_better: bool
    label: str = ""
    unit: str = ""
    decimals: int = 3
    protocol: str = ""


@dataclass(frozen=True)
class ComparisonSpec:
    """One paired comparison of two rows.

    Attributes:
        metric: name of the metric.
        row: value of the row of interest.
        against: value of the row it is compared with.
        kind: `relative_percent` (ratio of means, minus one) or `difference`.
        paper: the paper's number for the same quantity, by the paper's own group names.
        by_group: also within each group; otherwise over all cases only, which keeps Holm's family small.
    """

    metric: str
    row: str
    against: str
    kind: ComparisonKind
    paper: Mapping[str, float]
    by_group: bool = True


@dataclass(frozen=True)
class PaperValue:
    """Numbers that the paper prints for one row and metric, by the paper's own group names."""

    row: str
    metric: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class TableSpec:
    """Layout of a table; `parse_spec` makes one from YAML.

    Attributes:
        paper: short name of the paper.
        paper_setting: models and sampler of the paper, printed beside each of its numbers.
        title: heading.
        primary: name of the primary metric; its first comparison is the headline.
        rows: the rows.
        metrics: the metric columns.
        comparisons: the paired comparisons, one Holm family together.
        group_by: column whose values become blocks, beside the block "all"; empty for that one only.
        cluster_by: column that names the independent unit.
        paper_values: the paper's numbers for single cells.
        expected: what the paper leads one to expect, in a sentence.
    """

    paper: str
    paper_setting: str
    title: str
    primary: str
    rows: RowsSpec
    metrics: tuple[MetricSpec, ...]
    comparisons: tuple[ComparisonSpec, ...] = ()
    group_by: str = ""
    cluster_by: str = "prompt"
    paper_values: tuple[PaperValue, ...] = ()
    expected: str = ""

    def metric(self, name: str) -> MetricSpec:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)


def parse_spec(document: Mapping[str, Any]) -> TableSpec:
    """Checks a table's YAML, already loaded, and turns it into a `TableSpec`.

    Args:
        document: plain mappings and lists; the schema is that of `TableSpec`, with `metrics` a mapping from
            name.

    Raises:
        ConfigError: a key is unknown or missing, or a name does not refer to a declared row or metric.
    """
    plain = dict(document)
    if "rows" in plain:
        rows = {"labels": {}, **_mapping(plain["rows"], "rows")}
        rows["values"] = tuple(str(value) for value in rows.get("values", ()))
        rows["labels"] = {str(value): str(label) for value, label in rows["labels"].items()}
        plain["rows"] = _build(RowsSpec, rows, "rows")
    if "metrics" in plain:
        plain["metrics"] = tuple(
            _build(
                MetricSpec,
                {"label": name, **_mapping(entry, f"metrics.{name}"), "name": name},
                f"metrics.{name}",
            )
            for name, entry in _mapping(plain["metrics"], "metrics").items()
        )
    plain["comparisons"] = tuple(
        _build(ComparisonSpec, {"paper": {}, **_mapping(entry, f"comparisons[{i}]")}, f"comparisons[{i}]")
        for i, entry in enumerate(plain.get("comparisons", ()))
    )
    plain["paper_values"] = tuple(
        _build(PaperValue, _mapping(entry, f"paper_values[{i}]"), f"paper_values[{i}]")
        for i, entry in enumerate(plain.get("paper_values", ()))
    )
    spec = _build(TableSpec, plain, "")
    _check_references(spec)
    return spec


def _check_references(spec: TableSpec) -> None:
    metrics = [metric.name for metric in spec.metrics]
    _require(spec.primary, metrics, "primary")
    for i, comparison in enumerate(spec.comparisons):
        where = f"comparisons[{i}]"
        _require(comparison.metric, metrics, f"{where}.metric")
        _require(comparison.row, spec.rows.values, f"{where}.row")
        _require(comparison.against, spec.rows.values, f"{where}.against")
        _require(comparison.kind, get_args(ComparisonKind), f"{where}.kind")
    for i, entry in enumerate(spec.paper_values):
        _require(entry.row, spec.rows.values, f"paper_values[{i}].row")
        _require(entry.metric, metrics, f"paper_values[{i}].metric")
    for value in spec.rows.labels:
        _require(value, spec.rows.values, "rows.labels")


def _build(cls: type[T], entries: Mapping[str, Any], where: str) -> T:
    """Instantiates a dataclass from a mapping, refusing unknown and missing keys by name."""
    declared = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in entries:
        _require(str(key), declared, f"key in {where or 'the table'}")
    for name, field in declared.items():
        if field.default is MISSING and name not in entries:
            raise ConfigError(f"table: {where or 'top level'}: key {name!r} is missing; add it")
    return cls(**{str(key): value for key, value in entries.items()})


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"table: {where}: expected a mapping, received {value!r}")
    return value


def _require(value: str, allowed: Iterable[str], where: str) -> None:
    names = list(allowed)
    if value not in names:
        close = difflib.get_close_matches(str(value), names, n=1)
        suggestion = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"table: {where}: received {value!r}, allowed: {', '.join(names)}{suggestion}")
