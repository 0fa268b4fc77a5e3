"""SDE-DPM-Solver-1 in noise-prediction form: the reverse SDE, whose adjoint AdjointDEIS solves."""

import math
from dataclasses import dataclass
from itertools import pairwise

from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.samplers.affine import AffineChain, Step
from guidebench.samplers.base import Sampler


@dataclass(frozen=True)
class SDEDPMSolver(Sampler):
    """x_u = (alpha_u/alpha_t) x_t - 2 sigma_u (e^h - 1) eps_hat + sigma_u sqrt(e^(2h) - 1) xi,  h = lam_u - lam_t > 0.

    Not the SDE form of DPM-Solver++ (data prediction), which is another discretisation. Cost: 1 per step.

    Args:
        n_steps: number of steps.
        grid: placement of the times; must end where sigma > 0.

    Raises:
        ConfigError: ascending times, or a grid that ends at clean data.

    References: Lu et al. 2022b, appendix; AdjointDEIS, section 4.6.
    """

    order = 1
    is_stochastic = True
    paper = "Lu et al. 2022, DPM-Solver++ (SDE-DPM-Solver-1); Blasingame & Liu 2024, AdjointDEIS"

    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> AffineChain:
        if times[0] < times[-1]:
            raise ConfigError(
                "sampler: the reverse SDE runs on descending times; encode with samplers.cycle_sde"
            )
        if schedule.sigma(times[-1]) == 0.0:
            raise ConfigError(
                "sampler.grid.final: the SDE step to clean data adds noise to it; set sampler.grid.final=t_min"
            )
        if schedule.alpha(times[0]) == 0.0:
            raise ConfigError(
                "sampler.grid: the SDE step from pure noise, alpha = 0, adds infinite noise; begin later, or choose "
                "sampler=ddim sampler.eta=1"
            )
        steps = []
        for t, u in pairwise(times):
            a, b = schedule.transfer(t, u)
            # sigma_u e^h = a sigma_t
            steps.append(Step(a, 2.0 * b, math.sqrt((a * schedule.sigma(t)) ** 2 - schedule.sigma(u) ** 2)))
        return AffineChain(schedule, times, steps, noise_power=2.0)
