"""The groups of samples that become the blocks of a table, and the paper's numbers that belong beside each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from guidebench.report.paper import Numbers
from guidebench.report.spec import TableSpec
from guidebench.report.statistics import SetValue

ALL = "all"

SetValues = Mapping[str, Mapping[str, SetValue]]
"""The metrics of whole sets of samples by block ("" without blocks) and column; their columns hold features (d,)."""


@dataclass(frozen=True)
class Group:
    """The samples of one block of a table.

    Attributes:
        block: of the spec; "" where it has none.
        category: value of `group_by`, or "all".
        frame: the records.
    """

    block: str
    category: str
    frame: pd.DataFrame

    @property
    def title(self) -> str:
        """Heading of the block."""
        parts = [self.block, self.category if self.category != ALL or not self.block else ""]
        return ", ".join(filter(None, parts))


def grouped(frame: pd.DataFrame, spec: TableSpec) -> list[Group]:
    """Of every block, all cases first, then one group per category; a single category is all cases."""
    groups = []
    for block in spec.blocks or ("",):
        mine = frame[frame["block"] == block] if block else frame
        names = sorted(mine[spec.group_by].unique()) if spec.group_by else []
        if len(names) == 1 and not block:
            groups.append(Group(block, names[0], mine))
            continue
        groups.append(Group(block, ALL, mine))
        groups += [Group(block, name, mine[mine[spec.group_by] == name]) for name in names if len(names) > 1]
    return groups


def paper_numbers(numbers: Numbers, group: Group, names: set[str]) -> Numbers:
    """The paper's numbers that belong beside a group.

    A group or block that the paper reports takes its own number, without a name. A number of everything, and numbers
    for groups that the records do not have, stand beside the group of all cases, under the paper's names; no other
    group borrows them.
    """
    for name in (group.title, group.category, group.block):
        if name and name in numbers:
            return {"": numbers[name]}
    if not group.block and (group.category == ALL or len(names) == 1):
        return {name: number for name, number in numbers.items() if name not in names}
    return {"": numbers[""]} if "" in numbers and group.category == ALL else {}


def paper_text(numbers: Numbers, unit: str, sign: str = "") -> str:
    """The numbers as the paper prints them, under its own group names."""
    suffix = f" {unit}" if unit else ""
    return ", ".join(f"{group} {number:{sign}g}{suffix}".strip() for group, number in numbers.items())
