"""Measure gradient strategies side by side: counted evaluations, seconds, memory, and the error against a truth."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, GradientStrategy, StateObjective, x_T_grad
from guidebench.measuring import now, peak_memory, seconds_of
from guidebench.samplers.base import EpsModel


@dataclass(frozen=True)
class Workload:
    """What is differentiated, and how much network one call of it is.

    Args:
        run: the chain and what goes into it.
        objective: loss per sample.
        rows: network rows per sample of one call (2 under classifier-free guidance).
    """

    run: ChainRun
    objective: StateObjective
    rows: int = 1

    def x_T_grad(self, strategy: GradientStrategy, eps_model: EpsModel | None = None) -> Tensor:
        """The gradient with respect to x_T, (b, ...), by `eps_model` (default: the run's own)."""
        run = self.run if eps_model is None else replace(self.run, eps_model=eps_model)
        return x_T_grad(run.chain, strategy.value_and_grad(run, self.objective).state_grad)


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


def unit_of(workload: Workload, repeats: int = 5) -> Unit:
    """Time one forward without a graph, and one forward with its backward."""
    run = workload.run
    x_t, t = run.chain.query(run.state, 0)
    leaf = x_t.detach().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            run.eps(x_t, t, 0)

    def both() -> None:
        torch.autograd.grad(run.eps(leaf, t, 0).sum(), leaf)

    device = x_t.device
    forward_seconds, both_seconds = seconds_of(forward, device, repeats), seconds_of(both, device, repeats)
    ratio = max(both_seconds / forward_seconds - 1.0, 0.0)
    return Unit(forward_seconds / workload.rows, ratio)


def measure(
    name: str,
    strategy: GradientStrategy,
    workload: Workload,
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
        workload: what it differentiates.
        truth: gradient with respect to x_T, (b, ...), float64.
        unit: see `unit_of`.
        repeats: timed runs, of which the median counts; 0 times the counted run itself.
        weigh: measure peak memory.
    """
    counted = CountedModel(workload.run.eps_model, workload.rows)
    device = workload.run.state[0].device
    results: list[Tensor] = []

    def counted_run() -> None:
        results.append(workload.x_T_grad(strategy, counted))

    peak: int | None = None
    start = now(device)
    try:
        if weigh:
            peak = peak_memory(counted_run, device)
        else:
            counted_run()
    except ConfigError as refused:
        return Measured(name, strategy.is_exact, strategy.order, refused=str(refused))
    seconds = now(device) - start
    if repeats:
        seconds = seconds_of(lambda: workload.x_T_grad(strategy), device, repeats)
    ours, truth = results[0].double().flatten(1), truth.to(device).flatten(1)
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
