"""`guidebench plan`: the dry run. Everything is composed and checked, a short probe is timed, nothing is written."""

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Setup
from guidebench.problems import Problem
from guidebench.runner import sweeps
from guidebench.runner.compose import compose_config, expand, merge
from guidebench.runner.evaluate import check_references
from guidebench.runner.experiment import Experiment
from guidebench.runner.job import Job
from guidebench.runner.memory import peak_bytes, reset_peak
from guidebench.runner.sweeps import SweptJob


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
    arguments = parser.parse_intermixed_args(argv)
    overrides = [a for a in arguments.arguments if "=" in a or a.startswith("~")]
    names = [a for a in arguments.arguments if a not in overrides]
    if len(names) > 1:
        parser.error(f"one table at a time, got {' '.join(names)}")
    sweep = sweeps.load(names[0], overrides) if names else None
    jobs = sweep.jobs if sweep else _jobs(overrides)
    if not sweep or sweep.records == "samples":
        check_references(jobs[0].job)
    _print(jobs, with_probe=not arguments.no_probe)
    if sweep and sweep.costs:
        Console().print(sweep.costs)
    return 0


def _jobs(overrides: Sequence[str]) -> list[SweptJob]:
    merged = merge(["method=none", "seed=0"], overrides)
    return [SweptJob(Job.from_config(compose_config(job)), tuple(job)) for job in expand(merged)]


@dataclass(frozen=True)
class Probe:
    """What one network row costs on this machine.

    Args:
        forward: seconds per forward and network row.
        backward: seconds per backward and network row.
        overhead: seconds per loss evaluation and sample, decoder and guiding network included, forwards and backwards.
        memory_gb: peak memory of one forward and backward of a batch through network, decoder and loss.
        random_weights: whether the architecture was probed with random weights.
    """

    forward: float
    backward: float
    overhead: float
    memory_gb: float
    random_weights: bool


@dataclass(frozen=True)
class Estimate:
    """What one job still has to do."""

    missing: int
    cost: Cost
    seconds: float

    @property
    def evaluations(self) -> int:
        """Network rows, forwards and backwards."""
        return self.missing * (self.cost.nfe_fwd + self.cost.nfe_bwd)


def _estimate(experiment: Experiment, probe: Probe | None) -> Estimate:
    missing, cost = sum(len(batch.problems) for batch in experiment.missing()), experiment.cost()
    if probe is None:
        return Estimate(missing, cost, 0.0)
    losses = experiment.method.loss_evaluations(experiment.setup(load=False))
    per_sample = cost.nfe_fwd * probe.forward + cost.nfe_bwd * probe.backward + losses * probe.overhead
    return Estimate(missing, cost, missing * per_sample)


def _print(jobs: Sequence[SweptJob], with_probe: bool) -> None:
    console = Console()
    experiments = [Experiment(swept.job) for swept in jobs]
    probe = _probe(jobs[-1].job) if with_probe else None
    estimates = [_estimate(experiment, probe) for experiment in experiments]
    table = Table(title=f"{len(jobs)} jobs, all valid")
    for name in ("method", "seed", "samples", "stored", "NFE fwd", "NFE bwd", "est. time"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for swept, experiment, estimate in zip(jobs, experiments, estimates, strict=True):
        samples = len(experiment.problems)
        counts = (samples, samples - estimate.missing, estimate.cost.nfe_fwd, estimate.cost.nfe_bwd)
        time_left = _duration(estimate.seconds) if probe else "not probed"
        table.add_row(swept.choice("method"), swept.choice("seed"), *map(str, counts), time_left)
    console.print(table)
    missing, evaluations = sum(e.missing for e in estimates), sum(e.evaluations for e in estimates)
    console.print(f"{missing} samples to make, {evaluations} network evaluations (NFE are per sample)")
    if probe:
        weights = ", probed on the architecture with random weights" if probe.random_weights else ""
        console.print(
            f"about {_duration(sum(e.seconds for e in estimates))} on this machine; one forward and backward of a "
            f"batch peaks at {probe.memory_gb:.2f} GB{weights}"
        )


def _probe(job: Job) -> Probe:
    """Time one forward and one backward of a batch through network, decoder and loss."""
    config = job.config
    hub = "revision" in config["model"] or str(config["model"].get("source")).startswith("https://")
    if hub:
        job = _with_random_weights(job)
    experiment = Experiment(job)
    setup = experiment.setup()
    size = min(config["batch_size"], len(experiment.problems))
    problems = [dataclasses.replace(experiment.problems[0], case_id=f"probe-{i}") for i in range(size)]
    device = setup.model.device
    reset_peak(device)
    forward, backward, overhead = _timings(setup, problems)
    memory = peak_bytes(device) / 1e9
    return Probe(forward / size, backward / size, overhead / size, memory, hub)


def _timings(setup: Setup, problems: Sequence[Problem]) -> tuple[float, float, float]:
    """Seconds of a network forward, a network backward, and a loss evaluation with its backward, on a batch."""
    chain, streams = setup.chain(), setup.streams(problems)
    x_T = setup.x_T(streams)
    cond = setup.condition(problems)
    _, t = chain.query(chain.init(x_T), 0)
    objective = setup.loss.bind(problems, streams)
    leaf = x_T.clone().requires_grad_()

    forward = _seconds(lambda: setup.model.eps(x_T, t, cond), x_T.device)
    both = _seconds(lambda: torch.autograd.grad(setup.model.eps(leaf, t, cond).sum(), leaf), x_T.device)
    loss = _seconds(lambda: torch.autograd.grad(objective(setup.model.decode(leaf)).sum(), leaf), x_T.device)
    return forward, max(both - forward, 0.0), loss


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The faster of two runs; the first warms up."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def _with_random_weights(job: Job) -> Job:
    """The same job with every hub network's architecture at random weights."""
    config = copy.deepcopy(job.config)
    stack = [config]
    while stack:
        node = stack.pop()
        if "random_weights" in node:
            node["random_weights"] = True
        stack.extend(value for value in node.values() if isinstance(value, dict))
    return Job(config)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
