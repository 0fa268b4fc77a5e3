"""Karras et al.'s stochastic Heun sampler."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor

from guidebench.diffusion.grids import Grid, Karras
from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.samplers.base import Chain, Sampler, State


@dataclass(frozen=True)
class HeunStage:
    """One evaluation at noise level s = sigma/alpha; `step` is the length s_next - s of the Heun step.

    Args:
        t: time of the network.
        alpha_t: scale of its input.
        step: s_next - s, negative when sampling.
        is_corrector: the second evaluation of a Heun step.
        is_euler: the only evaluation of a step to s_next = 0, or from pure noise.
        churn: standard deviation of the noise added after this stage (to start the next step).
        keep: factor on y in an Euler step.
    """

    t: float
    alpha_t: float
    step: float
    is_corrector: bool
    is_euler: bool
    churn: float
    keep: float = 1.0


class HeunChain(Chain):
    """In the variable y = x / alpha with noise level s, dy/ds = eps_hat(alpha y, t(s)).

    predictor: y_1 = y + (s' - s) d,  m = y + (s' - s)/2 d;  corrector: y' = m + (s' - s)/2 d_1. The state is (y,)
    between steps and (y_1, m) within one. A first step from pure noise, s = infinity, is y' = x0_hat + s' x_T / sigma_T
    from the state (x_T,).

    Args:
        schedule: the noise schedule.
        times: N + 1 times.
        stages: the evaluations.
        first_churn: factor s_hat / s by which the first step's churn raises the initial noise.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        times: tuple[float, ...],
        stages: Sequence[HeunStage],
        first_churn: float,
    ) -> None:
        self.schedule, self.times, self.stages, self.first_churn = schedule, times, tuple(stages), first_churn
        self.n_stages = len(self.stages)
        # Churn beyond the ODE: the process is stochastic, with no fixed eta.
        self.noise_power = (
            1.0 if all(s.churn == 0.0 for s in self.stages) and first_churn == 1.0 else math.nan
        )

    def init(self, x_T: Tensor) -> State:
        """y = x_T / alpha, scaled to the churned noise level; x_T where alpha = 0."""
        alpha_T = self.schedule.alpha(self.times[0])
        return (x_T * (self.first_churn / alpha_T),) if alpha_T > 0.0 else (x_T,)

    def query(self, state: State, k: int) -> tuple[Tensor, float]:
        """(alpha y, t)."""
        stage = self.stages[k]
        return stage.alpha_t * state[0], stage.t

    def update(self, state: State, eps: Tensor, k: int, noise: Tensor | None = None) -> State:
        """Euler, predictor or corrector; then the next step's churn."""
        stage = self.stages[k]
        if not stage.is_corrector and not stage.is_euler:
            return state[0] + stage.step * eps, state[0] + 0.5 * stage.step * eps
        y = (
            state[1] + 0.5 * stage.step * eps
            if stage.is_corrector
            else stage.keep * state[0] + stage.step * eps
        )
        return (y if noise is None else y + stage.churn * noise,)

    def output(self, state: State) -> Tensor:
        """x at the end."""
        return self.schedule.alpha(self.times[-1]) * state[0]

    def ended(self, x_0: Tensor) -> State:
        """y = x_0 / alpha."""
        return (x_0 / self.schedule.alpha(self.times[-1]),)

    def needs_noise(self, k: int) -> bool:
        """Whether the step after stage k begins with churn."""
        return self.stages[k].churn != 0.0

    def step_of(self, k: int) -> int:
        """Two stages to a step, but for a first one from pure noise."""
        return k // 2 if self.schedule.alpha(self.times[0]) > 0.0 else (k + 1) // 2

    def gain(self, k: int) -> float:
        """alpha_u times the length of the step; predictor and corrector count half each."""
        return self.schedule.alpha(self.times[self.step_of(k) + 1]) * self.stages[k].step

    def rewind(self, after: State, step: int, noise: Tensor) -> State:
        """y noised from the level after the step, its churn included, to the level before."""
        if self.schedule.alpha(self.times[step]) == 0.0:
            return (self.schedule.sigma(self.times[step]) * noise,)
        first = next(k for k in range(self.n_stages) if self.step_of(k) == step)
        following = self.stages[first + 2].t if first + 2 < self.n_stages else self.times[-1]
        high, low = (
            self.schedule.sigma(t) / self.schedule.alpha(t) for t in (self.stages[first].t, following)
        )
        return (after[0] + math.sqrt(high**2 - low**2) * noise,)


@dataclass(frozen=True)
class Heun(Sampler):
    """Second-order Heun steps with noise "churned" in before each: Karras et al., Algorithm 2.

    Step i first raises the noise level to s_hat = s_i (1 + gamma_i), gamma_i = min(churn / N, sqrt 2 - 1) where
    s_min <= s_i <= s_max, adding S_noise sqrt(s_hat^2 - s_i^2) xi; then one Heun step leads to s_(i+1). A step to
    s = 0 is Euler's. On any schedule it runs in y = x / alpha. Cost: 2 evaluations per step, 2N - 1 in all.

    Args:
        n_steps: number of steps; 36 gives the 71 evaluations of LGD's table 4.
        grid: placement of the times.
        s_churn: S_churn; 0 is the deterministic sampler.
        s_tmin, s_tmax: noise levels between which churn happens.
        s_noise: S_noise, factor on the churned noise.

    Raises:
        ConfigError: churn below 0 or on ascending times, or beyond the noise levels of the schedule.

    References: Karras et al. 2022, Algorithm 2; Song et al. 2023 (LGD), section 5.3.
    Differs from the paper: the first step's churn is folded into x_T, which must be pure noise: scaling N(0, s_0^2)
        by s_hat/s_0 has the same law as adding to it (for S_noise = 1).
    """

    n_steps: int = 36
    grid: Grid = field(default_factory=Karras)
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    order = 2
    nfe_per_step = 2
    paper = "Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models"

    def __post_init__(self) -> None:
        if self.s_churn < 0.0:
            raise ConfigError(f"sampler.s_churn: got {self.s_churn}; allowed is 0 or more")

    @property
    def is_stochastic(self) -> bool:  # type: ignore[override]
        """s_churn > 0."""
        return self.s_churn > 0.0

    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> HeunChain:
        if self.s_churn > 0.0 and times[0] < times[-1]:
            raise ConfigError("sampler.s_churn: inversion is deterministic; set sampler.s_churn=0")
        if schedule.alpha(times[-1]) == 0.0:
            raise ConfigError(
                "sampler.grid: Heun's noise level is infinite in pure noise; end the inversion before it"
            )
        levels = [
            schedule.sigma(t) / schedule.alpha(t) if schedule.alpha(t) > 0.0 else math.inf for t in times
        ]
        gammas = [self._gamma(s, len(times) - 1) for s in levels[:-1]]
        stages: list[HeunStage] = []
        for i, (s, s_next) in enumerate(pairwise(levels)):
            gamma_next = gammas[i + 1] if i + 1 < len(gammas) else 0.0
            churn = self.s_noise * s_next * math.sqrt((1.0 + gamma_next) ** 2 - 1.0)
            if math.isinf(s):
                stages.append(
                    HeunStage(times[i], 1.0, 1.0, False, True, churn, s_next / schedule.sigma(times[i]))
                )
                continue
            s_hat = s * (1.0 + gammas[i])
            t_hat = times[i] if s_hat == s else schedule.time_of_lam(-math.log(s_hat))
            step, t_next = s_next - s_hat, times[i + 1]
            euler = s_next == 0.0
            stages.append(
                HeunStage(t_hat, schedule.alpha(t_hat), step, False, euler, churn if euler else 0.0)
            )
            if not euler:
                stages.append(HeunStage(t_next, schedule.alpha(t_next), step, True, False, churn))
        return HeunChain(schedule, times, stages, 1.0 + gammas[0])

    def _gamma(self, s: float, n_steps: int) -> float:
        churned = self.s_tmin <= s <= self.s_tmax and math.isfinite(s)
        return min(self.s_churn / n_steps, math.sqrt(2.0) - 1.0) if churned else 0.0
