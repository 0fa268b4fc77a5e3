"""Where a table's records come from: stored samples, measured costs, or a study."""

import dataclasses
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from guidebench.devices import device
from guidebench.errors import ConfigError
from guidebench.metrics.base import SetMetric
from guidebench.report.groups import SetValues
from guidebench.report.spec import TableSpec
from guidebench.runner import gradients, resources
from guidebench.runner.evaluate import check_problems, check_references, evaluate, set_values
from guidebench.runner.experiment import Batch, Experiment, environment
from guidebench.runner.tables import ComposedTable, RowJob
from guidebench.runner.watch import Watch
from guidebench.studies.base import Findings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The records of a table's source.

    Args:
        records: by the suffix of the table, as `report.table.build_table` takes them.
        specs: the layouts, with what was found out about their columns.
        labels: more of the setting.
        reservations: what must be said of single columns.
        set_values: the metrics of whole sets.
        findings: of a study, or why rows are missing.
        failed: names of jobs that failed; the log tells why.
        has_costs: whether the records say what each sample cost.
    """

    records: Mapping[str, pd.DataFrame]
    specs: Mapping[str, TableSpec]
    labels: Mapping[str, str] = field(default_factory=dict)
    reservations: Mapping[str, str] = field(default_factory=dict)
    set_values: SetValues = field(default_factory=dict)
    findings: Findings | None = None
    failed: tuple[str, ...] = ()
    has_costs: bool = False


def find(composed: ComposedTable, run: bool, watch: Watch) -> Found:
    """The records of a composed table.

    Args:
        composed: the table.
        run: generate and measure what is not stored; otherwise only read.
        watch: told how it goes on.

    Raises:
        ConfigError: nothing of the table's source is ever stored, and it shall not run.
    """
    if composed.source != "samples" and not run:
        raise ConfigError(
            f"{composed.name}: {'is a study' if composed.study else f'shows measured {composed.source}'}: nothing of "
            "it is stored, so --no-run has nothing to tabulate"
        )
    sources = {"samples": _samples, "resources": _resources, "gradients": _gradients, "study": _study}
    return sources[composed.source](composed, run, watch)


def _study(composed: ComposedTable, run: bool, watch: Watch) -> Found:
    assert composed.study is not None
    findings = composed.study.run(watch.tell)
    return Found(findings.records, composed.specs, findings=findings)


def _resources(composed: ComposedTable, run: bool, watch: Watch) -> Found:
    return Found({"": resources.measure(composed.jobs, watch.tell)}, composed.specs, _machine(composed))


def _gradients(composed: ComposedTable, run: bool, watch: Watch) -> Found:
    records, refused = gradients.measure(composed.jobs, watch.tell)
    return Found({"": records}, composed.specs, _machine(composed), findings=Findings({}, refused))


def _machine(composed: ComposedTable) -> dict[str, str]:
    where = environment(device(composed.config["device"]))
    return {"batch": str(composed.config["batch_size"]), "device": where["device"]}


def _samples(composed: ComposedTable, run: bool, watch: Watch) -> Found:
    experiments = prepared(composed, run=run)
    if run:
        failed, records = _generated(composed, experiments, watch)
    else:
        failed, records = (), stored_records(composed, experiments)
    first = {entry.block: experiments[i] for i, entry in reversed(list(enumerate(composed.jobs)))}
    metrics = {name: m for e in first.values() for name, m in e.job.metrics().items()}
    spec = composed.specs[""]
    spec = dataclasses.replace(
        spec,
        columns=tuple(
            dataclasses.replace(column, protocol=metrics[column.name].protocol)
            for column in spec.columns
            if column.name in metrics
        ),
        comparisons=tuple(c for c in spec.comparisons if c.column in metrics),
    )
    return Found(
        {"": records},
        {"": spec},
        reservations=_reservations(list(first.values()), records, spec),
        set_values={block: set_values(experiment) for block, experiment in first.items()},
        failed=failed,
        has_costs=True,
    )


def prepared(composed: ComposedTable, run: bool) -> list[Experiment]:
    """Every job's experiment; all that can be refused before the first sample is refused here.

    Args:
        composed: the table.
        run: see that reference images are there, and that metrics can measure what is asked for.

    Raises:
        ConfigError: choices do not go together.
        DataError: a dataset or reference images cannot be read.
    """
    experiments = [Experiment(entry.job) for entry in composed.jobs]
    if run:
        for experiment in {e.block: x for e, x in zip(composed.jobs, experiments, strict=True)}.values():
            check_references(experiment.job)
            check_problems(experiment)
    return experiments


def stored_records(composed: ComposedTable, experiments: Sequence[Experiment]) -> pd.DataFrame:
    """What is stored of every job, samples and metric values; nothing is run or written."""
    frames = [
        evaluate(experiment, measure=False, row=entry.row, block=entry.block)
        for entry, experiment in zip(composed.jobs, experiments, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def _generated(
    composed: ComposedTable, experiments: Sequence[Experiment], watch: Watch
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Run every job; a batch that fails leaves its traceback in the job's log and does not stop the others.

    A first pass over all jobs takes the batches that nobody works on, a second waits for the others.

    Returns:
        The names of jobs that failed, and the stored samples of all.
    """
    jobs = list(zip(composed.jobs, experiments, strict=True))
    missing = [experiment.missing() for experiment in experiments]
    costs = [experiment.cost() for experiment in experiments]
    watch.starting(
        [(sum(len(b.problems) for b in batches), cost) for batches, cost in zip(missing, costs, strict=True)]
    )
    failed: dict[str, set[str]] = {}
    try:
        left = list(missing)
        for wait in (False, True):
            for i, (entry, experiment) in enumerate(jobs):
                if left[i]:
                    watch.job(entry.name, costs[i])
                    left[i] = _run(composed, entry, experiment, left[i], watch, wait, failed)
        frames = []
        for i, (entry, experiment) in enumerate(jobs):
            watch.tell(f"evaluating {entry.name}")
            frames.append(_evaluated(composed, entry, experiment, bool(missing[i]), failed))
    finally:
        watch.done()
    return tuple(failed), pd.concat(frames, ignore_index=True)


def _run(
    composed: ComposedTable,
    entry: RowJob,
    experiment: Experiment,
    batches: Sequence[Batch],
    watch: Watch,
    wait: bool,
    failed: dict[str, set[str]],
) -> list[Batch]:
    """Generate batches one by one; the same error a second time ends the job. Returns those left to others."""
    left: list[Batch] = []
    for batch in batches:
        before = len(failed.get(entry.name, ()))
        with _told(composed, entry, experiment, failed, batch.name) as again:
            left += experiment.run([batch], watch.advance, wait)
        if again and before:
            break
    return left


def _evaluated(
    composed: ComposedTable, entry: RowJob, experiment: Experiment, made: bool, failed: dict[str, set[str]]
) -> pd.DataFrame:
    """The records of a job, reported to its logger where samples were made; without new values where that fails."""
    names: dict[str, Any] = {"row": entry.row, "block": entry.block}
    with _told(composed, entry, experiment, failed, "evaluation"):
        frame = evaluate(experiment, **names)
        if made:
            logger, where = entry.job.build("logger"), composed.root / "wandb"
            logger.log_job(entry.job.run_id, entry.name, entry.job.config, frame, composed.name, where)
        return frame
    return evaluate(experiment, measure=False, **names)


@contextmanager
def _told(
    composed: ComposedTable,
    entry: RowJob,
    experiment: Experiment,
    failed: dict[str, set[str]],
    what: str,
) -> Iterator[list[str]]:
    """Let what fails fail alone: its traceback goes to the job's log, its error to `failed`.

    Yields:
        A list that holds the error afterwards if the job failed with it before.
    """
    again: list[str] = []
    try:
        yield again
    except Exception as error:
        text, known = f"{type(error).__name__}: {error}", failed.setdefault(entry.name, set())
        if text in known:
            again.append(text)
        known.add(text)
        log = composed.root / "logs" / f"{experiment.config_hash}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{entry.name}, {what}: {' '.join(entry.overrides)}\n{traceback.format_exc()}\n")
        _log.error("%s, %s failed (%s); traceback in %s", entry.name, what, text, log)


def _reservations(
    experiments: Sequence[Experiment], records: pd.DataFrame, spec: TableSpec
) -> dict[str, str]:
    """What must be said of single columns: networks shared with the loss, sets too small for what they measure."""
    notes: dict[str, dict[str, None]] = {}
    for experiment in experiments:
        for name in experiment.shared_networks:
            notes.setdefault(name, {})["shares its network with the guiding loss"] = None
        for name, metric in experiment.job.metrics().items():
            if isinstance(metric, SetMetric) and not records.empty and records[name].notna().any():
                category = [f"problem.{spec.group_by}"] if spec.group_by else []
                cells = records.groupby(["row", "block", *category])
                smallest = int(cells[name].count().loc[lambda n: n > 0].min())
                caveat = metric.caveat(smallest, len(records[name].dropna().iloc[0]))
                if caveat:
                    notes.setdefault(name, {})[caveat] = None
    return {name: "; ".join(parts) for name, parts in notes.items()}
