"""The numbers that a paper prints, looked up by row and column; changes between rows are computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from guidebench.errors import ConfigError

Numbers = Mapping[str, float]
"""Numbers by the paper's own group names; "" for a number of everything."""

_KEYS = ("setting", "source", "rows", "changes", "units", "about")


@dataclass(frozen=True)
class PaperNumbers:
    """What a paper prints for one table.

    Attributes:
        setting: models and sampler of the paper.
        source: where in the paper the numbers stand, such as "Table 1".
        rows: numbers by row and column.
        changes: printed changes of a row against another, by (column, row, against, kind).
        units: of columns that the paper measures in another unit than we, or in one that it does not state.
    """

    setting: str = ""
    source: str = ""
    rows: Mapping[str, Mapping[str, Numbers]] = field(default_factory=dict)
    changes: Mapping[tuple[str, str, str, str], Numbers] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def value(self, row: str, column: str) -> Numbers:
        """The paper's numbers of a cell; empty where it prints none."""
        return self.rows.get(row, {}).get(column, {})

    def change(self, column: str, row: str, against: str, kind: str) -> Numbers:
        """The paper's change of a row against another: as printed, or from the numbers of both, group by group.

        A relative change has one decimal, a difference as many as the numbers.
        """
        if (column, row, against, kind) in self.changes:
            return self.changes[column, row, against, kind]
        ours, theirs = self.value(row, column), self.value(against, column)
        return {group: _change(ours[group], theirs[group], kind) for group in ours if group in theirs}


NO_PAPER = PaperNumbers()


def parse_numbers(section: Mapping[str, Any], where: str) -> PaperNumbers:
    """A section of experiments/<paper>/paper.yaml.

    Args:
        section: `setting` in words; optional `source`; `rows`, by row and column a number or numbers by group;
            `changes`, a list of {column, row or rows, against, relative_percent or difference: a number or numbers by
            group}; `units` by column; `about`, anything else that the paper states.
        where: config path, for messages.

    Raises:
        ConfigError: a key is unknown or missing, or a number is none.
    """
    unknown = [key for key in section if key not in _KEYS]
    if unknown or "setting" not in section:
        raise ConfigError(
            f"{where}: has the keys {', '.join(map(str, section))}; it must have setting and may have "
            f"{', '.join(key for key in _KEYS if key != 'setting')}"
        )
    rows = {
        str(row): {
            str(column): _numbers(value, f"{where}.rows.{row}.{column}") for column, value in cells.items()
        }
        for row, cells in section.get("rows", {}).items()
    }
    changes = {}
    for i, entry in enumerate(section.get("changes", ())):
        for kind in ("relative_percent", "difference"):
            for row in [*entry.get("rows", ()), *([entry["row"]] if "row" in entry else [])]:
                if kind in entry:
                    key = (str(entry["column"]), str(row), str(entry["against"]), kind)
                    changes[key] = _numbers(entry[kind], f"{where}.changes[{i}].{kind}")
    return PaperNumbers(
        str(section["setting"]), str(section.get("source", "")), rows, changes, section.get("units", {})
    )


def _numbers(value: Any, where: str) -> Numbers:
    numbers = value if isinstance(value, Mapping) else {"": value}
    for group, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"{where}{f'.{group}' * bool(group)}: got {number!r}; allowed: a number")
    return {str(group): number for group, number in numbers.items()}


def _change(value: float, against: float, kind: str) -> float:
    a, b = Decimal(str(value)), Decimal(str(against))
    return float(a - b) if kind == "difference" else float(round(100 * (a - b) / abs(b), 1))
