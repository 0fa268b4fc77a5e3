"""What stands around a table's numbers: the setting, the warning before them, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guidebench.errors import ConfigError
from guidebench.report import statistics
from guidebench.report.comparisons import ALPHA
from guidebench.report.layout import Comparison
from guidebench.report.spec import TableSpec


def setting(labels: Mapping[str, str]) -> str:
    """The labels in one line.

    Raises:
        ConfigError: suite or size is missing.
    """
    for required in ("suite", "size"):
        if required not in labels:
            raise ConfigError(
                f"labels: {required!r} is missing; a table must say which suite and size it was run at"
            )
    return ", ".join(f"{name} {value}" for name, value in labels.items())


def warning(labels: Mapping[str, str], spec: TableSpec) -> str:
    """What is said before any number that is not of the paper's setting."""
    beside = f" The paper's numbers were measured with {spec.paper.setting}." if spec.paper.setting else ""
    if labels["suite"] == "random":
        return f"Not the paper's setting: random weights, so only the costs mean anything.{beside}"
    if labels["suite"] != "full":
        return (
            f"Not the paper's setting: real measurements of small models ({labels['suite']} suite).{beside}"
        )
    if labels["size"] != "paper":
        return f"Not the paper's setting: the paper's models at size {labels['size']}.{beside}"
    if labels.get("overrides"):
        return f"Not the paper's setting: the paper's models with {labels['overrides']}.{beside}"
    return ""


def notes(
    spec: TableSpec,
    reservations: Mapping[str, str],
    comparisons: Sequence[Comparison],
    of_sets: set[str],
) -> tuple[str, ...]:
    """How to read the numbers, and what must be said of single columns.

    Args:
        spec: the layout.
        reservations: by column.
        comparisons: of the table.
        of_sets: names of the columns that hold one value of all samples together.
    """
    unit = spec.cluster_by
    found = [
        f"Values: mean over {unit}s of the {unit} means, with a 95 % t interval over {unit}s. An interval is "
        "missing, and its reason printed, where the data allow none. n counts samples; failed ones are "
        "listed, never counted."
    ]
    shares = [column.label for column in spec.columns if column.unit == "%" and column.name not in of_sets]
    if shares:
        found.append(
            f"{', '.join(shares)}: Wilson's interval with the number of samples that {unit}s of this spread are worth."
        )
    skewed = [column.label for column in spec.columns if column.skewed and column.name not in of_sets]
    if skewed:
        found.append(
            f"{', '.join(skewed)}: bootstrap-t interval of the logarithm of the mean, {unit}s drawn with replacement, "
            "as values lie far above their mean."
        )
    sets = [column.label for column in spec.columns if column.name in of_sets]
    if sets:
        found.append(
            f"{', '.join(sets)}: one value of all samples of a cell together; the interval is a t interval over "
            f"jackknife pseudo-values, leaving out {unit}s in at most {statistics.GROUPS} groups, with the reference "
            "images held fixed. Comparisons use the same pseudo-values."
        )
    if comparisons:
        found.append(
            f"Comparisons: paired on shared (case, seed), paired t test on {unit} means; relative changes "
            "are ratios of means with Fieller's interval. Holm's procedure over the "
            f"{len(comparisons)} comparisons of this table, familywise level {ALPHA:g}; bold where the "
            "Holm-adjusted interval excludes 0."
        )
    found += [f"{column.label}: {column.protocol}" for column in spec.columns if column.protocol]
    found += [
        f"† {column.label}: {reservations[column.name]}"
        for column in spec.columns
        if column.name in reservations
    ]
    if spec.paper.setting:
        where = f"{spec.paper.source} of the paper" if spec.paper.source else "the paper's"
        found.append(f"paper: {where}, {spec.paper.setting}.")
    if spec.expected:
        found.append(f"Expected from the paper: {spec.expected}")
    return tuple(found)
