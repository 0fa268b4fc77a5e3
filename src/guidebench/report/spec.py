"""What a table shows, declared before anything runs: rows, blocks, columns, comparisons, and the paper's numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from guidebench.errors import ConfigError
from guidebench.report.paper import NO_PAPER, PaperNumbers

ComparisonKind = Literal["relative_percent", "difference"]

T = TypeVar("T")


@dataclass(frozen=True)
class RowSpec:
    """One row of every block.

    Attributes:
        name: value of the column `row` of the records.
        label: printed name.
    """

    name: str
    label: str


@dataclass(frozen=True)
class ColumnSpec:
    """One column of numbers.

    Attributes:
        name: column of the records.
        higher_is_better: direction.
        label: printed name.
        unit: printed after the name; empty for a pure number. A "%" is a share: its interval never leaves 0 to 100.
        decimals: digits after the decimal point.
        skewed: whether values lie far to one side of their mean, so that the interval must not be symmetric.
        protocol: how it was measured, printed below the table.
    """

    name: str
    higher_is_better: bool
    label: str = ""
    unit: str = ""
    decimals: int = 3
    skewed: bool = False
    protocol: str = ""


@dataclass(frozen=True)
class ComparisonSpec:
    """One paired comparison of two rows.

    Attributes:
        column: name of the column.
        row: name of the row of interest.
        against: name of the row it is compared with.
        kind: `relative_percent` (ratio of means, minus one) or `difference`.
        by_group: also within each group; otherwise over all cases only, which keeps Holm's family small.
    """

    column: str
    row: str
    against: str
    kind: ComparisonKind
    by_group: bool = True


@dataclass(frozen=True)
class TableSpec:
    """Layout of a table; `parse_spec` makes one from YAML.

    Attributes:
        title: heading.
        rows: the rows.
        columns: the columns of numbers.
        primary: name of the primary column; its first comparison is the headline.
        comparisons: the paired comparisons, one Holm family together.
        blocks: values of the column `block` of the records, each a block of its own; empty for a table without.
        group_by: column, or field of the problem, whose values become blocks, beside the block "all"; empty for that
            one only.
        cluster_by: column, or field of the problem, that names the independent unit.
        expected: what the paper leads one to expect, in a sentence.
        paper: what the paper prints.
    """

    title: str
    rows: tuple[RowSpec, ...]
    columns: tuple[ColumnSpec, ...]
    primary: str
    comparisons: tuple[ComparisonSpec, ...] = ()
    blocks: tuple[str, ...] = ()
    group_by: str = ""
    cluster_by: str = "prompt"
    expected: str = ""
    paper: PaperNumbers = NO_PAPER

    def column(self, name: str) -> ColumnSpec:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def label(self, row: str) -> str:
        """The printed name of a row."""
        return next(entry.label for entry in self.rows if entry.name == row)


def parse_spec(document: Mapping[str, Any], paper: PaperNumbers = NO_PAPER) -> TableSpec:
    """Checks the layout in a table's YAML, already loaded, and turns it into a `TableSpec`.

    Args:
        document: plain mappings and lists with the keys of `TableSpec`; `rows` and `columns` are mappings by name, and
            of a row only the `label` is read.
        paper: what the paper prints.

    Raises:
        ConfigError: a key is unknown or missing, or a name does not refer to a declared row or column.
    """
    plain: dict[str, Any] = {str(key): value for key, value in document.items()}
    for required in ("rows", "columns"):
        if not _mapping(plain.get(required, {}), required):
            raise ConfigError(f"table: top level: key {required!r} is missing; add it")
    plain["rows"] = tuple(
        RowSpec(str(name), str(_mapping(entry or {}, f"rows.{name}").get("label", name)))
        for name, entry in plain["rows"].items()
    )
    plain["columns"] = tuple(
        _build(
            ColumnSpec,
            {"label": name, **_mapping(entry, f"columns.{name}"), "name": name},
            f"columns.{name}",
        )
        for name, entry in plain["columns"].items()
    )
    plain["comparisons"] = tuple(
        _build(ComparisonSpec, _mapping(entry, f"comparisons[{i}]"), f"comparisons[{i}]")
        for i, entry in enumerate(plain.get("comparisons", ()))
    )
    plain["blocks"] = tuple(str(name) for name in plain.get("blocks", ()))
    plain.setdefault("primary", plain["columns"][0].name)
    spec = _build(TableSpec, {**plain, "paper": paper}, "")
    _check_references(spec)
    return spec


def _check_references(spec: TableSpec) -> None:
    columns, rows = [column.name for column in spec.columns], [row.name for row in spec.rows]
    _require(spec.primary, columns, "primary")
    for i, comparison in enumerate(spec.comparisons):
        where = f"comparisons[{i}]"
        _require(comparison.column, columns, f"{where}.column")
        _require(comparison.row, rows, f"{where}.row")
        _require(comparison.against, rows, f"{where}.against")
        _require(comparison.kind, get_args(ComparisonKind), f"{where}.kind")


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
