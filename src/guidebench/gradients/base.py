"""What every gradient strategy gives and takes.

    run = ChainRun(chain, eps_model, chain.init(x_T), cond=cond, noises=noises)
    strategy.value_and_grad(run, objective)

API:
    objective(final_state) -> (b,)      e.g. lambda s: loss(decode(s[0])); DOODL: the sum over both members of EDICT
    .value (b,), .state                 losses and the end of the chain (detached)
    .state_grad                          d value / d state, like the initial state
    x_T_grad(chain, state_grad)          d value / d x_T, whatever the state holds
    .cond_grad                           like `cond`, where it requires grad (one tensor, or one per stage)
    .params_grad                         like `params`; pass the tensors you want, nothing else is ever differentiated
    .noises_grad                         like `noises`, for the entries that require grad

    .cost(chain)                        forwards and backwards of one call, before running it

Gradients are those of value.sum(), so row i of a per-sample quantity depends on row i alone, whatever the batch.
Freeze the network (`requires_grad_(False)`, eval mode) before the call; a strategy never touches `.grad` fields.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.grids import Grid, check_times
from guidebench.errors import ConfigError
from guidebench.samplers.base import (
    Chain,
    Conditioning,
    EpsModel,
    Noises,
    OnStage,
    State,
    cond_at,
    noise_at,
    sample,
)

StateObjective = Callable[[State], Tensor]
"""Final state -> one loss per sample, (b,)."""


@dataclass(frozen=True)
class ChainRun:
    """One run of a chain: everything that goes into it.

    Args:
        chain: the sampler's algebra.
        eps_model: guided noise prediction; frozen.
        state: initial state, `chain.init(x_T)`.
        cond: conditioning, constant or per stage; its gradient is given where it requires grad.
        params: tensors inside `eps_model` to differentiate, each requiring grad.
        noises: noise of stochastic stages; gradients are given for entries that require grad.
        on_stage: called with (k, state) after each forward stage.
    """

    chain: Chain
    eps_model: EpsModel
    state: State
    cond: Conditioning = None
    params: Sequence[Tensor] = ()
    noises: Noises | None = None
    on_stage: OnStage | None = None

    def eps(self, x_t: Tensor, t: float, k: int) -> Tensor:
        """The prediction at (x_t, t) under the conditioning of stage k. Cost: 1 forward."""
        return self.eps_model(x_t, t, cond_at(self.cond, k))

    def stage(self, state: State, k: int) -> State:
        """The state after stage k. Cost: 1 forward."""
        eps = self.eps(*self.chain.query(state, k), k)
        return self.chain.update(state, eps, k, noise_at(self.chain, self.noises, k))

    def watched(self, k: int, state: State) -> State:
        """The state after stage k, shown to `on_stage`."""
        if self.on_stage is not None:
            self.on_stage(k, state)
        return state

    def sample(self, state: State | None = None) -> State:
        """The final state, from `state` (default: the run's own). Cost: `chain.n_stages` forwards."""
        return sample(
            self.chain,
            self.eps_model,
            self.state if state is None else state,
            cond=self.cond,
            noises=self.noises,
            on_stage=self.on_stage,
        )


@dataclass(frozen=True)
class ChainGradient:
    """Losses at the end of a chain and their gradients.

    Args:
        value: losses, (b,).
        state: the final state.
        state_grad: gradient with respect to the initial state.
        cond_grad: gradient with respect to the conditioning, None unless it requires grad.
        params_grad: gradients with respect to `params`.
        noises_grad: gradients with respect to the noises that require grad, None elsewhere.
    """

    value: Tensor
    state: State
    state_grad: State
    cond_grad: Tensor | tuple[Tensor | None, ...] | None = None
    params_grad: tuple[Tensor, ...] = ()
    noises_grad: tuple[Tensor | None, ...] = ()


@dataclass(frozen=True)
class GradientStrategy(ABC):
    """A way to differentiate objective(final state) through a chain.

    Attributes:
        is_exact: equals backpropagation through the sampler, up to rounding.
        order: order of convergence to the continuous gradient as the grid is refined; None where exact or biased.
        needs_reversible: needs a chain that can be undone (EDICT).
        paper: where it comes from.
        execution_only: parameters that change time and memory but no result; they are no part of a sample's identity.
    """

    execution_only: ClassVar[tuple[str, ...]] = ()
    is_exact: ClassVar[bool]
    order: ClassVar[int | None] = None
    needs_reversible: ClassVar[bool] = False
    paper: ClassVar[str]

    @abstractmethod
    def cost(self, chain: Chain) -> Cost:
        """Calls of `eps_model` per `value_and_grad` on this chain; a promise that the tests count."""

    @abstractmethod
    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """Sample, evaluate the objective, and bring its gradient back to the start.

        Args:
            run: the chain and what goes into it.
            objective: loss per sample of the final state.

        Raises:
            ConfigError: the chain lacks what the strategy needs.
        """


def value_and_cotangent(objective: StateObjective, final: State) -> tuple[Tensor, State]:
    """Losses (b,) and d sum(losses) / d final, without keeping the objective's graph."""
    with torch.enable_grad():
        leaves = tuple(s.detach().requires_grad_() for s in final)
        value = objective(leaves)
        grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return value.detach(), tuple(
        torch.zeros_like(s) if g is None else g for g, s in zip(grads, leaves, strict=True)
    )


def x_T_grad(chain: Chain, state_grad: State) -> Tensor:
    """d value / d x_T, (b, ...): the gradient of the initial state brought back through `chain.init`."""
    with torch.enable_grad():
        x_T = torch.zeros_like(state_grad[0]).requires_grad_()
        dots = [(s * g).sum() for s, g in zip(chain.init(x_T), state_grad, strict=True)]
        (grad,) = torch.autograd.grad(torch.stack(dots).sum(), x_T)
    return grad


def adjoint_nodes(chain: Chain, grid: Grid | None, n_steps: int | None) -> tuple[float, ...]:
    """Nodes of a continuous adjoint, least noisy first: the sampling times, or M + 1 others with the same ends.

    Args:
        chain: the sampling chain.
        grid: placement of the nodes; None = the sampling times.
        n_steps: M; None = as many as the sampling steps.

    Raises:
        ConfigError: the chain takes several evaluations per step or ends at clean data, or the ends differ.
    """
    n = len(chain.times) - 1
    if chain.n_stages != n:
        raise ConfigError(
            f"gradient: a continuous adjoint needs a sampler of one evaluation per step, got {type(chain).__name__} "
            f"with {chain.n_stages} for {n} steps; choose sampler=ddim or dpm_solver, or gradient=checkpointed"
        )
    if chain.times[-1] == chain.schedule.t_clean:
        raise ConfigError(
            "gradient: a continuous adjoint starts where sampling ends, and no network is defined at clean data; set "
            "sampler.grid.final=t_min"
        )
    if chain.schedule.alpha(chain.times[0]) == 0.0:
        raise ConfigError(
            "gradient: a continuous adjoint is infinite in pure noise, alpha = 0, where this sampling begins; choose "
            "gradient=checkpointed, or a sampler.grid that begins later"
        )
    if grid is None:
        if n_steps not in (None, n):
            raise ConfigError(
                f"gradient.n_steps: got {n_steps} for {n} sampling steps; give gradient.grid to place them"
            )
        return chain.times[::-1]
    nodes = check_times(
        [_snapped(chain, t) for t in grid(chain.schedule, n if n_steps is None else n_steps)]
    )[::-1]
    if (nodes[0], nodes[-1]) != (chain.times[-1], chain.times[0]):
        raise ConfigError(
            f"gradient.grid: its nodes run from {nodes[0]:g} to {nodes[-1]:g} and sampling from {chain.times[0]:g} to "
            f"{chain.times[-1]:g}; both need the same ends"
        )
    return nodes


def stage_at(chain: Chain, t: float) -> int:
    """The stage whose conditioning governs time t: the one that starts at t or last before it; the last at the end."""
    return min(bisect_right(chain.times, -t, key=lambda s: -s), chain.n_stages) - 1


def _snapped(chain: Chain, t: float) -> float:
    """The sampling time that t is but for rounding, or t."""
    nearest = min(chain.times, key=lambda s: abs(s - t))
    return nearest if math.isclose(nearest, t, rel_tol=1e-9) else t
