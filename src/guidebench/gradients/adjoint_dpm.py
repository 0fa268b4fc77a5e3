"""AdjointDPM: the augmented ODE of state and adjoint in the variable rho, by a Runge-Kutta method."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.grids import Grid
from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.gradients.base import (
    ChainGradient,
    ChainRun,
    GradientStrategy,
    StateObjective,
    adjoint_nodes,
    stage_at,
    value_and_cotangent,
)
from guidebench.gradients.stage import Differentiated, scaled_vjp
from guidebench.samplers.base import Chain


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method whose every stage looks at the one before it only.

    Args:
        order: of convergence.
        nodes: c_i, where each stage is evaluated, as a share of the step; stage i starts from slope i - 1.
        weights: b_i.
    """

    order: int
    nodes: tuple[float, ...]
    weights: tuple[float, ...]


TABLEAUS = {
    "euler": Tableau(1, (0.0,), (1.0,)),
    "midpoint": Tableau(2, (0.0, 0.5), (0.0, 1.0)),
    "heun": Tableau(2, (0.0, 1.0), (0.5, 0.5)),
    "rk4": Tableau(4, (0.0, 0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


@dataclass(frozen=True)
class AdjointDPM(GradientStrategy):
    """Solve, from the data to the noise, in rho = sigma/alpha and y = x/alpha,

        dy/drho = eps_hat(alpha y, z, t(rho)),   da_y/drho = -alpha J_x^T a_y,   da_z/drho = -J_z^T a_y,

    with a_y = alpha a_x. The states are solved anew from x_0, none are stored. With "euler" it is, term by term,
    AdjointDEIS deis-1 with states inverted1.

    Cost: n forwards to sample, then M s forwards and M s backwards for a method of s stages. Memory: one graph.

    Args:
        method: "euler", "midpoint", "heun" or "rk4".
        n_steps: M; None = the sampling times.
        grid: placement of the M + 1 nodes; must end where the chain ends; None = the sampling times.

    Raises:
        ConfigError: the chain is stochastic or ends at clean data, or another method.

    References: Pan et al. 2024 (AdjointDPM), eq. 8–11.
    Differs from the paper: times between nodes are continuous, by the schedule's exact inverse (the official code
        takes the nearest table entry, which caps every method at first order); rho here is theirs up to an affine map.
    """

    method: Literal["euler", "midpoint", "heun", "rk4"] = "rk4"
    n_steps: int | None = None
    grid: Grid | None = None

    is_exact = False
    paper = "Pan et al. 2024, AdjointDPM: Adjoint Sensitivity Method for Gradient Backpropagation of DPMs"

    def __post_init__(self) -> None:
        if self.method not in TABLEAUS:
            raise ConfigError(f"gradient.method: got {self.method!r}; allowed are {', '.join(TABLEAUS)}")

    @property
    def order(self) -> int:  # type: ignore[override]
        """Of the Runge-Kutta method."""
        return TABLEAUS[self.method].order

    def cost(self, chain: Chain) -> Cost:
        """n + M s forwards, M s backwards."""
        solved = (len(adjoint_nodes(chain, self.grid, self.n_steps)) - 1) * len(TABLEAUS[self.method].nodes)
        return Cost(nfe_fwd=chain.n_stages + solved, nfe_bwd=solved)

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`."""
        chain = run.chain
        if chain.noise_power != 1.0:
            raise ConfigError(
                "gradient: AdjointDPM is for ODEs; choose a deterministic sampler, or gradient=adjoint_deis"
            )
        nodes, schedule = adjoint_nodes(chain, self.grid, self.n_steps), chain.schedule
        inputs = Differentiated(run)
        with torch.no_grad():
            state = run.sample()
        value, (a_x, *_) = value_and_cotangent(objective, state)
        alpha_end = schedule.alpha(nodes[0])
        y, a_y = chain.output(state).detach() / alpha_end, alpha_end * a_x
        tableau = TABLEAUS[self.method]
        for t, s in pairwise(nodes):
            rho = schedule.sigma(t) / schedule.alpha(t)
            step = schedule.sigma(s) / schedule.alpha(s) - rho
            dy, da = torch.zeros_like(y), torch.zeros_like(a_y)
            sum_y, sum_a = torch.zeros_like(y), torch.zeros_like(a_y)
            for node, weight in zip(tableau.nodes, tableau.weights, strict=True):
                u = _time(schedule, t, s, rho, step, node)
                k, alpha_u = stage_at(chain, u), schedule.alpha(u)
                with torch.enable_grad():
                    x_u = (alpha_u * (y + node * step * dy)).requires_grad_()
                    eps = run.eps(x_u, u, k)
                others = inputs.at(k, with_noise=False)
                a_u = a_y + node * step * da
                products = scaled_vjp((eps,), (x_u, *others), (a_u,), per_row=not run.params)
                dy, da = eps.detach(), -alpha_u * products[0]
                sum_y, sum_a = sum_y + weight * dy, sum_a + weight * da
                inputs.add(others, [-step * weight * product for product in products[1:]])
            y, a_y = y + step * sum_y, a_y + step * sum_a
        rest = tuple(torch.zeros_like(s) for s in run.state[1:])
        return inputs.result(value, state, (a_y / schedule.alpha(nodes[-1]), *rest))


def _time(schedule: NoiseSchedule, t: float, s: float, rho: float, step: float, node: float) -> float:
    """The time at rho + node * step; exactly t and s at the ends."""
    if node in (0.0, 1.0):
        return t if node == 0.0 else s
    return schedule.time_of_lam(-math.log(rho + node * step))
