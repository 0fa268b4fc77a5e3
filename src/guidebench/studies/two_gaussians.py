"""The mixture of two Gaussians of LGD, its loss, and what guiding it should give: all in closed form."""

import math

import torch
from torch import Tensor, nn

from guidebench.diffusion.analytic import GaussianMixture
from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.methods.posterior.guidance import Guidance, Normal
from guidebench.methods.posterior.likelihood import monte_carlo
from guidebench.methods.posterior.stage import Stage
from guidebench.samplers.ddim import DDIM

MEANS, STD = (-1.0, 1.0), 0.2
SLOPE = (MEANS[1] - MEANS[0]) / STD**2
"""log p(right | x_0) - log p(left | x_0) = SLOPE x_0."""


def wrong_side(x_0: Tensor) -> Tensor:
    """The loss -log p(left component | x_0) = softplus(50 x_0): (..., 1) -> (...)."""
    return nn.functional.softplus(SLOPE * x_0).squeeze(-1)


def mixture(schedule: NoiseSchedule) -> GaussianMixture:
    """0.5 N(-1, 0.2^2) + 0.5 N(1, 0.2^2)."""
    return GaussianMixture(schedule, torch.tensor(MEANS, dtype=torch.float64)[:, None], STD**2)


def left_only(n: int) -> Tensor:
    """Conditioning of the mixture that leaves the left component alone, (n, 2)."""
    return torch.tensor([0.0, -math.inf], dtype=torch.float64).expand(n, 2)


def exact_gradient(schedule: NoiseSchedule, x_t: Tensor, t: float) -> Tensor:
    """grad log p(left component | x_t), (b, 1): the oracle, score of the component minus that of the mixture."""
    model = mixture(schedule)
    return (model(x_t, t) - model(x_t, t, left_only(len(x_t)))) / schedule.sigma(t)


def estimated_gradient(
    method: Guidance, schedule: NoiseSchedule, x_t: Tensor, t: float, normal: Normal
) -> Tensor:
    """What a method with score injection adds to the score at x_t, (b, 1)."""
    chain = DDIM(1).chain(schedule, (t, schedule.t_clean))
    with torch.no_grad():
        stage = Stage(chain, 0, x_t, t, mixture(schedule), None, wrong_side, normal, method.backpropagates)
        return (stage.eps - method.guide(stage)) / schedule.sigma(t)


class Quadrature(Guidance):
    """LGD-MC with n = infinity: the trapezoidal rule over nine standard deviations; one-dimensional data only.

    Args:
        nodes: number of points.
        scale: 0 is unguided sampling itself.
    """

    paper = "LGD, Eq. 9, n = infinity"

    def __init__(self, nodes: int = 1001, scale: float = 1.0) -> None:
        self.nodes, self.scale = nodes, scale

    def guide(self, stage: Stage) -> Tensor:
        nodes = torch.linspace(-9, 9, self.nodes, dtype=stage.x_t.dtype)
        estimate = monte_carlo(
            # the normal density at a node is its weight; constants do not matter
            lambda x_0: self.scale * stage.loss(x_0) + 0.5 * nodes.square()[:, None],
            stage.x0_hat,
            nodes.view(-1, 1, 1).expand(-1, *stage.x_t.shape),
            stage.paper_spread,
        )
        stage.log(estimate)
        return stage.scored(stage.pull_back(estimate.grad))


def gaussian_kl(
    mean: Tensor | float, std: Tensor | float, other_mean: Tensor | float, other_std: Tensor | float
) -> Tensor:
    """KL(N(mean, std^2) || N(other_mean, other_std^2)) = ln(s'/s) + (s^2 + (m - m')^2) / (2 s'^2) - 1/2."""
    m, s, m_, s_ = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, std, other_mean, other_std))
    return torch.log(s_ / s) + (s**2 + (m - m_) ** 2) / (2 * s_**2) - 0.5


def normal_of(generator: torch.Generator, rows: int) -> Normal:
    """The draws that methods ask for: n -> standard normal (n, rows, 1)."""
    return lambda n: torch.randn(n, rows, 1, generator=generator, dtype=torch.float64)
