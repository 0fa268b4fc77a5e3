"""`guidebench table`: run what is missing, evaluate, tabulate."""

import argparse
import dataclasses
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from guidebench.cli.progress import GenerationProgress
from guidebench.errors import ConfigError
from guidebench.report.render import to_console, write_table
from guidebench.report.spec import TableSpec, parse_spec
from guidebench.report.table import build_costs, build_table
from guidebench.runner import sweeps
from guidebench.runner.evaluate import evaluate, frame
from guidebench.runner.experiment import Experiment
from guidebench.runner.sweeps import SweptJob

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Make a table; the exit status is 1 where a job failed, and the table says what is missing."""
    parser = argparse.ArgumentParser(
        prog="guidebench table",
        description="Run what the store lacks, evaluate, and write the table as md, csv, tex and html.",
        epilog=f"Tables: {', '.join(sweeps.table_names())}. Examples: guidebench table doodl/fig5 size=smoke; "
        "guidebench table doodl/fig5 'seed=range(0,9)' paths.results=/data/results",
    )
    parser.add_argument("name", help="PAPER/NAME")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as for `run`")
    parser.add_argument("--no-run", action="store_true", help="only tabulate what is stored")
    arguments = parser.parse_intermixed_args(argv)

    document = sweeps.load(arguments.name)
    jobs = sweeps.jobs(document, arguments.overrides)
    console = Console()
    failed_jobs = 0
    if not arguments.no_run:
        failed_jobs = run_missing(jobs, console)
    records = collect(jobs, arguments.name)
    paths = write(jobs, parse_spec(document["layout"]), records, arguments.name, console)
    console.print(*(f"wrote {path}" for path in paths), sep="\n", soft_wrap=True)
    if failed_jobs:
        console.print(f"{failed_jobs} of {len(jobs)} jobs failed: see {_log_folder(jobs)}", soft_wrap=True)
    return 1 if failed_jobs else 0


def run_missing(jobs: Sequence[SweptJob], console: Console) -> int:
    """Generate what the store lacks; one failing job does not stop the others.

    Returns:
        How many jobs failed; each left its traceback in a log of its own.
    """
    pending = [(swept, experiment) for swept in jobs if (experiment := Experiment(swept.job)).missing()]
    if not pending:
        return 0
    failures = 0
    work = [(sum(len(b.problems) for b in e.missing()), e.cost()) for _, e in pending]
    with GenerationProgress(console, work) as progress:
        for (swept, experiment), (_, cost) in zip(pending, work, strict=True):
            progress.job(f"{swept.choice('method')} seed {swept.choice('seed')}", cost)
            try:
                experiment.run(progress.advance)
            except Exception as error:
                failures += 1
                folder = _log_folder(jobs)
                folder.mkdir(parents=True, exist_ok=True)
                log = folder / f"{experiment.config_hash}_s{experiment.job.config['seed']}.log"
                log.write_text(f"{swept.name}\n{traceback.format_exc()}")
                _log.error(
                    "%s failed (%s: %s); traceback in %s", swept.name, type(error).__name__, error, log
                )
    return failures


def collect(jobs: Sequence[SweptJob], group: str) -> pd.DataFrame:
    """The stored samples of every job with their metrics, reported to the job's logger."""
    frames = []
    for swept in jobs:
        experiment = Experiment(swept.job)
        records = frame(experiment, evaluate(experiment), method=swept.choice("method"))
        root = Path(swept.job.config["paths"]["results"]) / "runs"
        if len(records):
            swept.job.build("logger").log_job(swept.job.config, records, group, root / "wandb")
        frames.append(records)
    return pd.concat(frames, ignore_index=True)


def write(
    jobs: Sequence[SweptJob], spec: TableSpec, records: pd.DataFrame, name: str, console: Console
) -> list[Path]:
    """Print the table and write it with its costs; returns the files."""
    config = jobs[0].job.config
    metrics = jobs[0].job.metrics()
    spec = dataclasses.replace(
        spec,
        metrics=tuple(
            dataclasses.replace(m, protocol=metrics[m.name].protocol)
            for m in spec.metrics
            if m.name in metrics
        ),
        comparisons=tuple(c for c in spec.comparisons if c.metric in metrics),
    )
    shared = Experiment(jobs[0].job).shared_networks
    notes = dict.fromkeys(shared, "shares its network with the guiding loss")
    labels = {"suite": config["suite"], "size": config["size"], **_labels(jobs)}
    table, costs = build_table(records, spec, labels, notes), build_costs(records, spec, labels)
    console.print(to_console(table), to_console(costs))
    stem = name.replace("/", "_") + ("" if config["suite"] == "embedded" else f"_{config['suite']}")
    folder = Path(config["paths"]["tables"])
    return [*write_table(table, folder, stem), *write_table(costs, folder, f"{stem}_costs")]


def _labels(jobs: Sequence[SweptJob]) -> dict[str, str]:
    """What was run, for the table's heading: values that all jobs share."""
    config = jobs[0].job.config
    for key in ("n_steps", "n_opt", "cfg_scale", "model"):
        if any(swept.job.config[key] != config[key] for swept in jobs):
            raise ConfigError(f"{key}: the jobs of one table must share it; got several values")
    source = config["model"].get("source", config["model"]["_target_"])
    strength = ", ".join(f"{method} {value:g}" for method, value in config["strength"].items())
    return {
        "model": source + (" (random weights)" if config["random_weights"] else ""),
        "sampler": f"{config['sampler']['_target_'].rpartition('.')[2]} {config['n_steps']} steps",
        "optimisation steps": str(config["n_opt"]),
        "cfg scale": f"{config['cfg_scale']:g}",
        "strength": strength,
    }


def _log_folder(jobs: Sequence[SweptJob]) -> Path:
    return Path(jobs[0].job.config["paths"]["results"]) / "runs" / "logs"
