"""What a job still has to do, and how long that takes on this machine by a short probe."""

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from guidebench.diffusion.cost import Cost
from guidebench.metrics.base import Metric, SetMetric
from guidebench.problems import Problem
from guidebench.runner.experiment import Experiment
from guidebench.runner.job import Job
from guidebench.runner.memory import peak_bytes, reset_peak

_SPREAD = (0.7, 2.0)
"""A whole run against a short probe, whose caches are warm and whose machine is busy with nothing else."""


@dataclass(frozen=True)
class Probe:
    """What one network row costs on this machine.

    Args:
        start: seconds until everything is loaded.
        forward: seconds per forward and network row.
        backward: seconds per backward and network row.
        loss: seconds per loss evaluation and sample, decoder and guiding network included, forwards and backwards.
        finish: seconds to decode a sample and to measure it, by every metric whose networks are here.
        unmeasured: metrics that were not probed.
        memory_gb: peak memory of one forward and backward of a batch through network, decoder and loss.
        random_weights: whether the architecture was probed with random weights.
    """

    start: float
    forward: float
    backward: float
    loss: float
    finish: float
    unmeasured: tuple[str, ...]
    memory_gb: float
    random_weights: bool


@dataclass(frozen=True)
class Remaining:
    """What one job still has to do.

    Args:
        samples: of the job.
        missing: samples that will be made; batches are made whole.
        cost: per sample, by the algorithm; a forward that is run again to save memory is not counted.
        seconds: lower and upper end for all missing samples; None without a probe.
    """

    samples: int
    missing: int
    cost: Cost
    seconds: tuple[float, float] | None

    @property
    def evaluations(self) -> int:
        """Network rows, forwards and backwards."""
        return self.missing * (self.cost.nfe_fwd + self.cost.nfe_bwd)


def remaining(experiment: Experiment, probe: Probe | None) -> Remaining:
    """What is left of a job.

    The lower end of the time takes every forward once; the upper one recomputes those that a backward needs.
    """
    missing, cost = sum(len(batch.problems) for batch in experiment.missing()), experiment.cost()
    if probe is None:
        return Remaining(len(experiment.problems), missing, cost, None)
    losses = experiment.method.loss_evaluations(experiment.setup(load=False))
    others = cost.nfe_bwd * probe.backward + losses * probe.loss + probe.finish
    once = max(cost.nfe_fwd - cost.nfe_bwd, min(cost.nfe_fwd, cost.nfe_bwd))
    low = missing * (once * probe.forward + others) * _SPREAD[0]
    high = missing * (cost.nfe_fwd * probe.forward + others) * _SPREAD[1]
    return Remaining(len(experiment.problems), missing, cost, (low, high))


def probe(job: Job) -> Probe:
    """Load a job's networks and time a forward and a backward of a batch through network, decoder, loss and metrics."""
    config = job.config
    hub = "revision" in config["model"] or str(config["model"].get("source")).startswith("https://")
    start = time.perf_counter()
    experiment = Experiment(_with_random_weights(job) if hub else job)
    guided = "loss" in experiment.method.uses
    setup = experiment.setup()
    start = time.perf_counter() - start
    size = min(config["batch_size"], len(experiment.problems))
    problems = [dataclasses.replace(experiment.problems[0], case_id=f"probe-{i}") for i in range(size)]
    device = setup.model.device
    reset_peak(device)

    chain, streams = setup.chain(), setup.streams(problems)
    x_T = setup.x_T(streams)
    cond = setup.condition(problems)
    _, t = chain.query(chain.init(x_T), 0)
    leaf = x_T.clone().requires_grad_()
    with torch.no_grad():
        forward = _seconds(lambda: setup.model.eps(x_T, t, cond), device)
        decode = _seconds(lambda: setup.model.decode(x_T), device)
    both = _seconds(lambda: torch.autograd.grad(setup.model.eps(leaf, t, cond).sum(), leaf), device)
    loss = 0.0
    if guided:
        objective = setup.loss.bind(problems, streams)
        loss = _seconds(lambda: torch.autograd.grad(objective(setup.model.decode(leaf)).sum(), leaf), device)
    memory = peak_bytes(device) / 1e9
    with torch.no_grad():
        samples = setup.model.decode(x_T)
    loading, measuring, left_out = _metrics(experiment, samples, problems, hub)
    return Probe(
        start + loading,
        forward / size,
        max(both - forward, 0.0) / size,
        loss / size,
        (decode + measuring) / size,
        left_out,
        memory,
        hub,
    )


def _metrics(
    experiment: Experiment, samples: torch.Tensor, problems: Sequence[Problem], hub: bool
) -> tuple[float, float, tuple[str, ...]]:
    """Seconds to load all metrics and to measure a batch, and those that were not probed."""
    metrics = experiment.job.metrics()
    if hub:
        return 0.0, 0.0, tuple(metrics)
    loading = measuring = 0.0
    left_out = []
    for name, metric in metrics.items():
        work = _measurement(metric, samples, problems)
        try:
            start = time.perf_counter()
            work()
            first = time.perf_counter() - start
            again = _seconds(work, samples.device)
        except Exception:  # whatever a metric says of a picture of noise
            left_out.append(name)
            continue
        loading, measuring = loading + max(first - again, 0.0), measuring + again
    return loading, measuring, tuple(left_out)


def _measurement(
    metric: Metric | SetMetric, samples: torch.Tensor, problems: Sequence[Problem]
) -> Callable[[], object]:
    if isinstance(metric, SetMetric):
        return lambda: metric.features(samples)
    return lambda: metric.evaluate(samples, problems)


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
