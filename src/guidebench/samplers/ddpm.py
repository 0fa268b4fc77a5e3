"""DDPM's ancestral sampling."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.samplers.affine import AffineChain, Step
from guidebench.samplers.base import Sampler
from guidebench.samplers.ddim import ddim_step


@dataclass(frozen=True)
class DDPM(Sampler):
    """x_u = posterior mean at x0_hat + c xi: the mean is DDIM's with eta = 1, and so is the small variance.

    c^2 = sigma_u^2 / sigma_t^2 beta ("small", the posterior's) or beta ("large", the forward process's), where
    beta = sigma_t^2 - (alpha_t / alpha_u)^2 sigma_u^2. No noise is added on the way to clean data. Cost: 1 per step.

    Args:
        n_steps: number of steps.
        grid: placement of the times.
        variance: "small" or "large".

    Raises:
        ConfigError: another variance, or ascending times.

    References: Ho et al. 2020, eq. 7 and section 3.2.
    """

    variance: Literal["small", "large"] = "small"

    order = 1
    is_stochastic = True
    paper = "Ho et al. 2020, Denoising Diffusion Probabilistic Models"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise ConfigError(f"sampler.variance: got {self.variance!r}; allowed are 'small' and 'large'")

    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> AffineChain:
        if times[0] < times[-1]:
            raise ConfigError(
                "sampler: DDPM runs on descending times; invert with sampler=ddim, sampler.eta=0"
            )
        return AffineChain(
            schedule, times, [self._step(schedule, t, u) for t, u in pairwise(times)], noise_power=2.0
        )

    def _step(self, schedule: NoiseSchedule, t: float, u: float) -> Step:
        posterior = ddim_step(schedule, t, u, eta=1.0)
        if self.variance == "small" or u == schedule.t_clean:
            return posterior
        beta = schedule.sigma(t) ** 2 - (schedule.alpha(t) / schedule.alpha(u) * schedule.sigma(u)) ** 2
        return Step(posterior.a, posterior.b, math.sqrt(beta))
