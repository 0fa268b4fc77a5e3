"""DDIM, from deterministic (eta = 0) to ancestral (eta = 1)."""

import math
from dataclasses import dataclass
from itertools import pairwise

from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.samplers.affine import AffineChain, Step
from guidebench.samplers.base import Sampler


def ddim_step(schedule: NoiseSchedule, t: float, u: float, eta: float = 0.0) -> Step:
    """x_u = alpha_u x0_hat + sqrt(sigma_u^2 - c^2) eps_hat + c xi, with x0_hat = (x_t - sigma_t eps_hat) / alpha_t.

    c = eta (sigma_u / sigma_t) sqrt(sigma_t^2 - (alpha_t / alpha_u)^2 sigma_u^2): eta = 1 is the posterior of the
    forward process, on variance-preserving and variance-exploding schedules alike.
    """
    a, b = schedule.transfer(t, u)
    if eta == 0.0:
        return Step(a, b)
    sigma_t, sigma_u = schedule.sigma(t), schedule.sigma(u)
    if schedule.alpha(t) == 0.0:  # x_t is the noise that x_u keeps of, and the network says x0_hat
        return Step(math.sqrt(1.0 - eta * eta) * sigma_u / sigma_t, b, eta * sigma_u)
    c = eta * sigma_u / sigma_t * math.sqrt(max(sigma_t**2 - (sigma_u / a) ** 2, 0.0))
    return Step(a, math.sqrt(max(sigma_u**2 - c * c, 0.0)) - a * sigma_t, c)


@dataclass(frozen=True)
class DDIM(Sampler):
    """Denoising diffusion implicit models; eta = 0 is the exponential Euler step of the probability-flow ODE.

    Run on ascending times (eta = 0) it is DDIM inversion, approximate to first order. Cost: 1 evaluation per step.

    Args:
        n_steps: number of steps.
        grid: placement of the times.
        eta: 0 deterministic … 1 ancestral.

    Raises:
        ConfigError: eta outside [0, 1], or eta > 0 on ascending times.

    References: Song et al. 2021 (DDIM), eq. 12 and 16.
    """

    eta: float = 0.0

    order = 1
    paper = "Song et al. 2021, Denoising Diffusion Implicit Models"

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise ConfigError(f"sampler.eta: got {self.eta}; allowed is 0 … 1")

    @property
    def is_stochastic(self) -> bool:  # type: ignore[override]
        """eta > 0."""
        return self.eta > 0.0

    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> AffineChain:
        if self.eta > 0.0 and times[0] < times[-1]:
            raise ConfigError(
                f"sampler.eta: inversion is deterministic, got eta = {self.eta}; set sampler.eta=0"
            )
        steps = [ddim_step(schedule, t, u, self.eta) for t, u in pairwise(times)]
        return AffineChain(schedule, times, steps, noise_power=1.0 + self.eta**2)
