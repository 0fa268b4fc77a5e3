"""Measure gradient strategies side by side: counted evaluations, seconds, memory, and the error against a truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainGradient, GradientStrategy, Objective
from guidebench.measuring import now, peak_memory, seconds_of
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

    device = x_t.device
    forward_seconds, both_seconds = seconds_of(forward, device, repeats), seconds_of(both, device, repeats)
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
    start = now(problem.state[0].device)
    try:
        if weigh:
            peak = peak_memory(counted_run, problem.state[0].device)
        else:
            counted_run()
    except ConfigError as refused:
        return Measured(name, strategy.is_exact, strategy.order, refused=str(refused))
    seconds = now(problem.state[0].device) - start
    if repeats:
        seconds = seconds_of(lambda: problem.gradient(strategy), problem.state[0].device, repeats)
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


def true_gradient(problem: Problem, strategy: GradientStrategy) -> Tensor:
    """Gradient with respect to x_T (members of a coupled state summed), (b, ...)."""
    grads: Sequence[Tensor] = problem.gradient(strategy).state_grad
    return torch.stack(list(grads)).sum(0)
