"""Measure gradient strategies side by side: counted evaluations, seconds, memory, and the error against a truth."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainGradient, GradientStrategy, Objective
from guidebench.samplers.base import Chain, Conditioning, EpsModel, Noises, State


@dataclass(frozen=True)
class Problem:
    """What is differentiated: one chain from one start to one objective.

    Args:
        chain: the sampler's algebra.
        eps_model: guided noise prediction.
        rows: network rows per sample of one call (2 under classifier-free guidance).
        state: initial state.
        objective: loss per sample.
        cond: conditioning.
        noises: of a stochastic chain.
    """

    chain: Chain
    eps_model: EpsModel
    rows: int
    state: State
    objective: Objective
    cond: Conditioning = None
    noises: Noises | None = None

    def gradient(self, strategy: GradientStrategy, eps_model: EpsModel | None = None) -> ChainGradient:
        """The gradient with respect to the initial state, and the conditioning where it requires grad."""
        return strategy.value_and_grad(
            self.chain,
            eps_model or self.eps_model,
            self.state,
            self.objective,
            cond=self.cond,
            noises=self.noises,
        )


@dataclass(frozen=True)
class Unit:
    """What one network row costs.

    Args:
        forward: seconds of a forward.
        backward_ratio: b, a backward's seconds over a forward's.
    """

    forward: float
    backward_ratio: float

    def of(self, cost: Cost) -> float:
        """A cost in forwards: nfe_fwd + b nfe_bwd."""
        return cost.nfe_fwd + self.backward_ratio * cost.nfe_bwd


@dataclass(frozen=True)
class Measured:
    """One strategy's row.

    Args:
        name: of the strategy with its settings.
        is_exact: declared.
        order: declared; None where exact or biased.
        cost: network rows per sample, counted.
        units: the cost in forwards.
        seconds: of one gradient of the whole batch; processor seconds on a CPU.
        overhead: seconds over those that the counted evaluations alone would take.
        peak_bytes: most memory allocated at once beyond what was there before.
        cosine: between the gradient with respect to x_T and the truth, mean over samples.
        error: relative L2 error of it, mean over samples.
        length: norm over the truth's, mean over samples.
        refused: why the strategy cannot run on this chain; the measurements are then None.
    """

    name: str
    is_exact: bool
    order: int | None
    cost: Cost | None = None
    units: float | None = None
    seconds: float | None = None
    overhead: float | None = None
    peak_bytes: int | None = None
    cosine: float | None = None
    error: float | None = None
    length: float | None = None
    refused: str = ""


def unit_of(problem: Problem, repeats: int = 5) -> Unit:
    """Time one forward without a graph, and one forward with its backward."""
    x_t, t = problem.chain.query(problem.state, 0)
    cond = problem.cond if problem.cond is None or isinstance(problem.cond, Tensor) else problem.cond[0]
    leaf = x_t.detach().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            problem.eps_model(x_t, t, cond)

    def both() -> None:
        torch.autograd.grad(problem.eps_model(leaf, t, cond).sum(), leaf)

    forward_seconds, both_seconds = _seconds(forward, x_t, repeats), _seconds(both, x_t, repeats)
    ratio = max(both_seconds / forward_seconds - 1.0, 0.0)
    return Unit(forward_seconds / problem.rows, ratio)


def measure(
    name: str,
    strategy: GradientStrategy,
    problem: Problem,
    truth: Tensor,
    unit: Unit,
    *,
    repeats: int = 3,
    weigh: bool = True,
) -> Measured:
    """Run a strategy: once counted (and weighed), then timed.

    Args:
        name: for the row.
        strategy: the strategy.
        problem: what it differentiates.
        truth: gradient with respect to x_T, (b, ...), float64; the members of a coupled state summed.
        unit: see `unit_of`.
        repeats: timed runs, of which the median counts; 0 times the counted run itself.
        weigh: measure peak memory.
    """
    counted = CountedModel(problem.eps_model, problem.rows)
    results: list[ChainGradient] = []

    def counted_run() -> None:
        results.append(problem.gradient(strategy, counted))

    peak: int | None = None
    start = _now(problem.state[0].device)
    try:
        if weigh:
            peak = peak_memory(counted_run, problem.state[0].device)
        else:
            counted_run()
    except ConfigError as refused:
        return Measured(name, strategy.is_exact, strategy.order, refused=str(refused))
    seconds = _now(problem.state[0].device) - start
    if repeats:
        seconds = _seconds(lambda: problem.gradient(strategy), problem.state[0], repeats)
    ours = sum(g.double() for g in results[0].state_grad)
    assert isinstance(ours, Tensor)
    ours, truth = ours.flatten(1), truth.to(ours.device).flatten(1)
    units = unit.of(counted.cost)
    return Measured(
        name,
        strategy.is_exact,
        strategy.order,
        cost=counted.cost,
        units=units,
        seconds=seconds,
        overhead=seconds / (units * unit.forward),
        peak_bytes=peak,
        cosine=torch.cosine_similarity(ours, truth).mean().item(),
        error=((ours - truth).norm(dim=1) / truth.norm(dim=1)).mean().item(),
        length=(ours.norm(dim=1) / truth.norm(dim=1)).mean().item(),
    )


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """Bytes allocated at once while `work` runs, beyond those allocated before: every tensor, graphs included."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with _quiet():
        profiler.start()
    try:
        work()
    finally:
        with _quiet():
            profiler.stop()
    recorded: Any = profiler.profiler
    events = recorded.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    held = peak = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        held += size
        peak = max(peak, held)
    return peak


@contextmanager
def _quiet() -> Iterator[None]:
    """The profiler announces itself on the process's stderr, beyond Python's reach."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _seconds(work: Callable[[], object], like: Tensor, repeats: int) -> float:
    """Median of some runs after one that warms up."""
    times: list[float] = []
    for _ in range(repeats + 1):
        start = _now(like.device)
        work()
        times.append(_now(like.device) - start)
    return median(times[1:])


def _now(device: torch.device) -> float:
    """Wall time behind all work on a GPU; processor time of this process on a CPU, whatever else the machine does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def true_gradient(problem: Problem, strategy: GradientStrategy) -> Tensor:
    """Gradient with respect to x_T (members of a coupled state summed), (b, ...)."""
    grads: Sequence[Tensor] = problem.gradient(strategy).state_grad
    return torch.stack(list(grads)).sum(0)
