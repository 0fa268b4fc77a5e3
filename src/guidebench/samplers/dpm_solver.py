"""DPM-Solver and DPM-Solver++ for the probability-flow ODE, first order and second-order multistep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.samplers.base import Chain, Sampler, State

Algorithm = Literal["dpmsolver++", "dpmsolver"]


@dataclass(frozen=True)
class MultistepStep:
    """x_u = a x_t + b [(1 + w) p_t - w p_previous], where p is the data or the noise prediction.

    Args:
        a, b: of x_t and of the prediction.
        w: h / (2 h_previous); 0 for a first-order step.
        alpha_t, sigma_t: at the start of the step.
    """

    a: float
    b: float
    w: float
    alpha_t: float
    sigma_t: float


class MultistepChain(Chain):
    """The state is (x, previous prediction), or (x,) where there is none: at the start, and after a rewind.

    A step without a previous prediction is first order.

    Args:
        schedule: the noise schedule.
        times: N + 1 times.
        steps: N steps.
        algorithm: which prediction is extrapolated.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        times: tuple[float, ...],
        steps: Sequence[MultistepStep],
        algorithm: Algorithm,
    ) -> None:
        self.schedule, self.times, self.steps, self.algorithm = schedule, times, tuple(steps), algorithm
        self.n_stages = len(self.steps)

    def query(self, state: State, k: int) -> tuple[Tensor, float]:
        """(x, times[k])."""
        return state[0], self.times[k]

    def update(self, state: State, eps: Tensor, k: int, noise: Tensor | None = None) -> State:
        """One step; the new prediction becomes the previous one."""
        x, step = state[0], self.steps[k]
        # Where alpha_t = 0, `eps` is x0_hat; that step is first order and so is the next, so none extrapolates from it.
        told_is_it = self.algorithm == "dpmsolver" or step.alpha_t == 0.0
        prediction = eps if told_is_it else (x - step.sigma_t * eps) / step.alpha_t
        first_order = step.w == 0.0 or len(state) == 1
        slope = prediction if first_order else (1.0 + step.w) * prediction - step.w * state[1]
        return step.a * x + step.b * slope, prediction

    def rewind(self, after: State, step: int, noise: Tensor) -> State:
        """x noised, without a previous prediction: those of before belong to another path."""
        return (self._noised(after[0], step, noise),)


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """Exponential integrators of the probability-flow ODE in half log-SNR, h = lam_u - lam_t.

    "dpmsolver++":  x_u = (sigma_u/sigma_t) x_t + (alpha_u - alpha_t sigma_u/sigma_t) D,   p = x0_hat
    "dpmsolver":    x_u = (alpha_u/alpha_t) x_t + (sigma_u - sigma_t alpha_u/alpha_t) D,   p = eps_hat
    order 1: D = p_t (both are DDIM);   order 2 ("2M"): D = (1 + w) p_t - w p_previous,  w = h / (2 h_previous)

    The first step is first order, and so is a step to clean data, where h is infinite. On ascending times it is an
    inversion of the same order. Cost: 1 evaluation per step.

    Args:
        n_steps: number of steps.
        grid: placement of the times.
        solver_order: 1 or 2.
        algorithm: "dpmsolver++" or "dpmsolver".
        lower_order_final: make the last step first order where N < 15, as diffusers does.

    Raises:
        ConfigError: another order or algorithm, or a grid that starts at clean data.

    References: Lu et al. 2022a (DPM-Solver), eq. 3.7; Lu et al. 2022b (DPM-Solver++), Algorithm 2.
    """

    solver_order: int = 2
    algorithm: Algorithm = "dpmsolver++"
    lower_order_final: bool = True

    paper = "Lu et al. 2022, DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models"

    def __post_init__(self) -> None:
        if self.solver_order not in (1, 2):
            raise ConfigError(f"sampler.solver_order: got {self.solver_order}; allowed are 1 and 2")
        if self.algorithm not in ("dpmsolver++", "dpmsolver"):
            raise ConfigError(
                f"sampler.algorithm: got {self.algorithm!r}; allowed are 'dpmsolver++' and 'dpmsolver'"
            )

    @property
    def order(self) -> int:  # type: ignore[override]
        """solver_order."""
        return self.solver_order

    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> MultistepChain:
        if times[0] == schedule.t_clean:
            raise ConfigError(
                "sampler.grid: no network is defined at clean data; start the inversion at t_min"
            )
        n_steps = len(times) - 1
        lams = [schedule.lam(t) for t in times]
        steps = []
        for k, (t, u) in enumerate(pairwise(times)):
            first_order = (
                self.solver_order == 1
                or k == 0
                or math.isinf(lams[k + 1])
                or (self.lower_order_final and n_steps < 15 and k == n_steps - 1)
            )
            w = 0.0 if first_order else (lams[k + 1] - lams[k]) / (2.0 * (lams[k] - lams[k - 1]))
            alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
            if self.algorithm == "dpmsolver":
                a, b = schedule.transfer(t, u)
            else:
                a = schedule.sigma(u) / sigma_t
                b = schedule.alpha(u) - a * alpha_t
            steps.append(MultistepStep(a, b, w, alpha_t, sigma_t))
        return MultistepChain(schedule, times, steps, self.algorithm)
