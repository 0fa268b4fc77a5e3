"""The one way to a table: compose, find the records, build, write. Commands and `guidebench.table` call it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from guidebench.errors import DataError
from guidebench.report.layout import Table
from guidebench.report.render.files import write_table
from guidebench.report.render.html import to_html
from guidebench.report.table import build_costs, build_table
from guidebench.runner.sources import Found, find
from guidebench.runner.tables import ComposedTable, compose_table
from guidebench.runner.watch import Watch

FAILED_SHARE = 0.1
"""Above this share of failed samples a table counts as failed."""


@dataclass(frozen=True)
class Made:
    """A table that was made.

    Args:
        composed: what was asked for.
        tables: by the suffix of their files, the main one first, the costs last.
        records: one row per sample, with the columns `row` and `block`.
        claims: a study's verdicts on its paper's claims.
        paths: files that were written.
        failed_jobs: names of jobs that failed.
        logs: folder that holds why.
    """

    composed: ComposedTable
    tables: Mapping[str, Table]
    records: pd.DataFrame
    claims: tuple[str, ...]
    paths: tuple[Path, ...]
    failed_jobs: tuple[str, ...]
    logs: Path

    @property
    def failed_samples(self) -> tuple[int, int]:
        """How many samples failed, and of how many."""
        if "status" not in self.records:
            return 0, 0
        return int(self.records["status"].eq("failed").sum()), len(self.records)

    def has_failed(self, share: float = FAILED_SHARE) -> bool:
        """Whether a job failed, or more than this share of the samples."""
        failed, n = self.failed_samples
        return bool(self.failed_jobs) or failed > share * n


def make(
    name: str,
    overrides: Sequence[str] = (),
    *,
    run: bool = True,
    watch: Watch | None = None,
    root: Path | None = None,
) -> Made:
    """Make a table and write its files.

    Args:
        name: `paper/name`.
        overrides: the user's, as for `runner.tables.compose_table`.
        run: generate and evaluate what the store lacks; otherwise only tabulate what is stored.
        watch: told how it goes on.
        root: the folder `experiments`; the shipped one without it.

    Raises:
        ConfigError: an override is wrong, or choices do not go together.
        DataError: data cannot be read; or a table with missing cells would replace one.
    """
    return make_composed(compose_table(name, overrides, root), run=run, watch=watch)


def make_composed(composed: ComposedTable, *, run: bool = True, watch: Watch | None = None) -> Made:
    """Make a composed table and write its files."""
    watch = watch or Watch()
    found = find(composed, run, watch)
    tables = _tables(composed, found)
    if not run:
        _refuse_to_replace(composed, tables)
    paths = [
        path
        for suffix, table in tables.items()
        for path in write_table(table, composed.tables, _stem(composed, suffix, tables))
    ]
    if composed.study and found.findings:
        watch.tell("figures")
        paths += composed.study.draw(found.findings, composed.tables, composed.stem)
    main = next(iter(tables.values()))
    if run and composed.source == "samples":
        logger = composed.jobs[0].job.build("logger")
        logger.log_table(to_html(main), composed.name, composed.root / "wandb")
    records = pd.concat(
        [
            frame.assign(table=suffix) if len(found.records) > 1 else frame
            for suffix, frame in found.records.items()
        ],
        ignore_index=True,
    )
    claims = found.findings.claims if found.findings else ()
    return Made(composed, tables, records, claims, tuple(paths), found.failed, composed.root / "logs")


def _tables(composed: ComposedTable, found: Found) -> dict[str, Table]:
    labels = composed.labels | dict(found.labels)
    tables = {
        suffix: build_table(found.records[suffix], spec, labels, found.reservations, found.set_values)
        for suffix, spec in found.specs.items()
    }
    if found.findings:
        main = next(iter(tables))
        notes = (*found.findings.claims, *tables[main].notes)
        tables[main] = dataclasses.replace(tables[main], notes=notes)
    if found.has_costs:
        tables["costs"] = build_costs(found.records[""], found.specs[""], labels)
    return tables


def _stem(composed: ComposedTable, suffix: str, tables: Mapping[str, Table]) -> str:
    return composed.stem if suffix == next(iter(tables)) else f"{composed.stem}_{suffix.lower()}"


def _refuse_to_replace(composed: ComposedTable, tables: Mapping[str, Table]) -> None:
    """What is not stored must not take the place of a table that was made."""
    main = next(iter(tables.values()))
    path = composed.tables / f"{composed.stem}.md"
    if main.missing and path.exists():
        raise DataError(
            f"{path}: stays as it is, since {main.missing} cells of the new table are missing from the store; run "
            "without --no-run, or write elsewhere (paths.tables=...)"
        )
