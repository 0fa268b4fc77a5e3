"""`guidebench plan`: the dry run. Everything is composed and checked, a short probe is timed, nothing is written."""

import argparse
from collections.abc import Sequence

from guidebench.cli.printing import say, say_json, width
from guidebench.runner.compose import compose_config, expand, merge
from guidebench.runner.job import Job
from guidebench.runner.tables import RowJob, compose_table


def main(argv: list[str]) -> int:
    """Print one line per job and the totals."""
    parser = argparse.ArgumentParser(
        prog="guidebench plan",
        description="Compose and check every job, say what is stored, and estimate time and memory by a short probe "
        "(of the architecture with random weights where the weights would have to be downloaded). Nothing is written.",
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="PAPER/NAME | key=value",
        help="a table, or a job or sweep as for `run`",
    )
    parser.add_argument("--no-probe", action="store_true", help="do not load a model; no time and memory")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    arguments = parser.parse_intermixed_args(argv)
    overrides = [a for a in arguments.arguments if "=" in a or a.startswith("~")]
    names = [a for a in arguments.arguments if a not in overrides]
    if len(names) > 1:
        parser.error(f"one table at a time, got {' '.join(names)}")
    composed = compose_table(names[0], overrides) if names else None
    if composed and composed.source in ("study", "gradients"):
        say(
            f"{composed.name} is computed at once by `guidebench table {composed.name}`; nothing of it is stored"
        )
        return 0
    jobs = composed.jobs if composed else _jobs(overrides)
    stores = composed is None or composed.source == "samples"
    _plan(jobs, stores=stores, with_probe=not arguments.no_probe, as_json=arguments.json)
    if composed and composed.costs and not arguments.json:
        say(composed.costs)
    return 0


def _jobs(overrides: Sequence[str]) -> list[RowJob]:
    """Of a job or a sweep as for `run`; each is named by what was swept."""
    merged = merge(["method=none", "seed=0"], overrides)
    found = []
    for job in expand(merged):
        chosen = {key: value for key, _, value in (o.partition("=") for o in job)}
        name = f"{chosen['method']} seed {chosen['seed']}"
        found.append(RowJob(name, "", Job.from_config(compose_config(job)), tuple(job)))
    return found


def _plan(jobs: Sequence[RowJob], *, stores: bool, with_probe: bool, as_json: bool) -> None:
    from guidebench.report.render.console import shortened  # heavy: after the arguments are known to be right
    from guidebench.runner.evaluate import check_references
    from guidebench.runner.experiment import Experiment
    from guidebench.runner.planning import probe, remaining

    if stores:
        for job in {entry.block: entry.job for entry in jobs}.values():
            check_references(job)
    experiments = [Experiment(entry.job) for entry in jobs]
    probed = probe(jobs[-1].job) if with_probe else None
    plans = [remaining(experiment, probed) for experiment in experiments]
    missing, evaluations = sum(p.missing for p in plans), sum(p.evaluations for p in plans)
    to_learn = {found: name for e in experiments for name, found in e.unlearned().items()}
    seconds = None
    if probed:
        parts = [p.seconds or (0.0, 0.0) for p in plans]
        start = probed.start if missing else 0.0
        seconds = (start + sum(low for low, _ in parts), start + sum(high for _, high in parts))
    if as_json:
        say_json(
            {
                "jobs": [
                    {
                        "row": entry.row,
                        "block": entry.block,
                        "seeds": entry.job.seeds,
                        "samples": plan.samples,
                        "stored": plan.samples - plan.missing,
                        "nfe_fwd": plan.cost.nfe_fwd,
                        "nfe_bwd": plan.cost.nfe_bwd,
                        "seconds": plan.seconds,
                    }
                    for entry, plan in zip(jobs, plans, strict=True)
                ],
                "artefacts_to_learn": to_learn,
                "samples_to_make": missing,
                "network_evaluations": evaluations,
                "seconds": seconds,
                "memory_gb": probed.memory_gb if probed else None,
            }
        )
        return
    heads = ("samples", "stored", "NFE fwd", "NFE bwd", "est. time")
    columns = [max(len(head), 8) for head in heads[:-1]] + [14]
    label_width = min(
        max(len(entry.name) for entry in jobs), max(width() - sum(columns) - 2 * len(columns), 8)
    )

    def line(label: str, cells: Sequence[str]) -> str:
        ends = (f"{cell:>{w}}" for cell, w in zip(cells, columns, strict=True))
        return shortened("  ".join([f"{shortened(label, label_width):<{label_width}}", *ends]), width())

    say(f"{len(jobs)} jobs, all valid", line("job", heads))
    for entry, plan in zip(jobs, plans, strict=True):
        took = _range(plan.seconds) if plan.seconds else "not probed"
        counts = (plan.samples, plan.samples - plan.missing, plan.cost.nfe_fwd, plan.cost.nfe_bwd)
        say(line(entry.name, [*map(str, counts), took]))
    if to_learn:
        named = ", ".join(f"{name} ({found})" for found, name in to_learn.items())
        say(f"to be learned before, not in the time: {named}")
    say(f"{missing} samples to make, {evaluations} network evaluations (NFE are per sample)")
    if probed and seconds:
        say(f"{_range(seconds)} on this machine as it is now, of which {_duration(probed.start)} to start")
        weights = ", probed on the architecture with random weights" if probed.random_weights else ""
        say(f"one forward and backward of a batch peaks at {probed.memory_gb:.2f} GB{weights}")
        if probed.unmeasured:
            say(f"not in the time: metrics {', '.join(probed.unmeasured)}")


def _range(seconds: tuple[float, float]) -> str:
    low, high = map(_duration, seconds)
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
