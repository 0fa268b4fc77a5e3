"""Regenerate a table: every job of its sweep through generation, evaluation and logging, then the files."""

import dataclasses
import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.console import Console

from guidebench.cli.progress import GenerationProgress
from guidebench.metrics.base import SetMetric
from guidebench.report.render import to_console, to_html, write_table
from guidebench.report.spec import TableSpec, parse_spec
from guidebench.report.table import build_costs, build_table
from guidebench.runner.evaluate import check_references, evaluate, set_values
from guidebench.runner.experiment import Experiment
from guidebench.runner.sweeps import Sweep, SweptJob

_log = logging.getLogger(__name__)


def regenerate(sweep: Sweep, run: bool) -> int:
    """Print and write a table; returns the exit status, 1 where a job failed.

    Args:
        sweep: the table and its jobs.
        run: generate and evaluate what the store lacks; otherwise only tabulate.
    """
    spec = parse_spec(sweep.layout)
    console = Console()
    experiments = [Experiment(swept.job) for swept in sweep.jobs]
    if run:
        check_references(sweep.jobs[0].job)
    failures, records = _run(sweep, experiments, console) if run else (0, stored_records(sweep, experiments))
    metrics = sweep.jobs[0].job.metrics()
    spec = dataclasses.replace(
        spec,
        metrics=tuple(
            dataclasses.replace(m, protocol=metrics[m.name].protocol)
            for m in spec.metrics
            if m.name in metrics
        ),
        comparisons=tuple(c for c in spec.comparisons if c.metric in metrics),
    )
    notes = _metric_notes(experiments[0], records, spec)
    table = build_table(records, spec, sweep.labels, notes, set_values(experiments[0]))
    costs = build_costs(records, spec, sweep.labels)
    console.print(to_console(table), to_console(costs))
    folder = Path(sweep.config["paths"]["tables"])
    paths = [*write_table(table, folder, sweep.stem), *write_table(costs, folder, f"{sweep.stem}_costs")]
    if run:
        sweep.jobs[0].job.build("logger").log_table(to_html(table), sweep.name, sweep.root / "wandb")
    console.print(*(f"wrote {path}" for path in paths), sep="\n", soft_wrap=True)
    if failures:
        console.print(f"{failures} of {len(sweep.jobs)} jobs failed: see {_logs(sweep)}", soft_wrap=True)
    return 1 if failures else 0


def _metric_notes(experiment: Experiment, records: pd.DataFrame, spec: TableSpec) -> dict[str, str]:
    """What must be said of single metrics: networks shared with the loss, sets too small for what they measure."""
    notes: dict[str, list[str]] = {
        name: ["shares its network with the guiding loss"] for name in experiment.shared_networks
    }
    for name, metric in experiment.job.metrics().items():
        if isinstance(metric, SetMetric) and not records.empty and records[name].notna().any():
            cells = records.groupby([spec.rows.key, *filter(None, [spec.group_by])])
            smallest = int(cells[name].count().loc[lambda n: n > 0].min())
            caveat = metric.caveat(smallest, len(records[name].dropna().iloc[0]))
            notes.setdefault(name, []).extend(filter(None, [caveat]))
    return {name: "; ".join(parts) for name, parts in notes.items() if parts}


def stored_records(sweep: Sweep, experiments: Sequence[Experiment]) -> pd.DataFrame:
    """What is stored of every job, samples and metric values; nothing is run or written."""
    frames = [
        evaluate(experiment, measure=False, method=swept.choice("method"))
        for swept, experiment in zip(sweep.jobs, experiments, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def _run(sweep: Sweep, experiments: Sequence[Experiment], console: Console) -> tuple[int, pd.DataFrame]:
    """Run every job; one that fails leaves its traceback in a log of its own and does not stop the others.

    A first pass over all jobs takes the batches that nobody works on, a second waits for the others.

    Returns:
        How many jobs failed, and the stored samples of all.
    """
    missing = [experiment.missing() for experiment in experiments]
    work = [
        (sum(len(batch.problems) for batch in batches), experiment.cost())
        for experiment, batches in zip(experiments, missing, strict=True)
    ]
    failed: set[int] = set()
    with GenerationProgress(console, work) as progress:
        left = list(missing)
        for wait in (False, True):
            for i, (swept, experiment) in enumerate(zip(sweep.jobs, experiments, strict=True)):
                if left[i] and i not in failed:
                    progress.job(f"{swept.choice('method')} seed {swept.choice('seed')}", work[i][1])
                    with _told(sweep, swept, experiment, i, failed):
                        left[i] = experiment.run(left[i], progress.advance, wait)
    frames = []
    for i, (swept, experiment) in enumerate(zip(sweep.jobs, experiments, strict=True)):
        with _told(sweep, swept, experiment, i, failed):
            frames.append(evaluate(experiment, method=swept.choice("method")))
            if missing[i]:
                name = f"{swept.choice('method')}-s{swept.choice('seed')}"
                run_id = f"{experiment.config_hash}-s{swept.choice('seed')}"
                logger = swept.job.build("logger")
                logger.log_job(run_id, name, swept.job.config, frames[-1], sweep.name, sweep.root / "wandb")
        if len(frames) == i:
            frames.append(evaluate(experiment, measure=False, method=swept.choice("method")))
    return len(failed), pd.concat(frames, ignore_index=True)


@contextmanager
def _told(
    sweep: Sweep, swept: SweptJob, experiment: Experiment, index: int, failed: set[int]
) -> Iterator[None]:
    """Let a failing job fail alone: its traceback goes to its own log, its index to `failed`."""
    try:
        yield
    except Exception as error:
        failed.add(index)
        log = _logs(sweep) / f"{experiment.config_hash}_s{experiment.job.config['seed']}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{swept.name}\n{traceback.format_exc()}")
        _log.error("%s failed (%s: %s); traceback in %s", swept.name, type(error).__name__, error, log)


def _logs(sweep: Sweep) -> Path:
    return sweep.root / "logs"
