"""Denoising diffusion restoration: each singular direction is sampled by what is known of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.methods.base import Setup
from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.linear_model import LinearModel, linear_model
from guidebench.methods.posterior.stage import Stage
from guidebench.problems import Problem
from guidebench.samplers.base import Chain
from guidebench.samplers.ddim import DDIM


class DDRM(Guidance):
    r"""Sample a linear problem in the singular basis of its operator, y = U S V^T x_0 + sigma_y noise.

    With spectra x = V^T x_t / alpha_t, m = V^T x0_hat, z = S^+ U^T y, noise levels s = sigma_t / alpha_t and s' of the
    next time, and xi standard normal, for the direction of singular value S_i:

        S_i = 0:            m + sqrt(1 - eta^2) s' (x - m) / s + eta s' xi
        s' < sigma_y / S_i: m + sqrt(1 - eta^2) s' (z - m) S_i / sigma_y + eta s' xi
        otherwise:          (1 - eta_b) m + eta_b z + sqrt(s'^2 - eta_b^2 sigma_y^2 / S_i^2) xi

    It is a sampler of its own: of the chosen one it takes the grid of times. It has no strength. Cost: one forward of
    the network per step.

    Args:
        eta: noise in directions that the observation leaves open or hides.
        eta_b: weight of the observation in the others; 1 with sigma_y = 0 gives H x_0 = y.

    References: Kawar et al., "Denoising Diffusion Restoration Models", NeurIPS 2022, eq. 8.
    """

    paper = "DDRM (Kawar et al. 2022), Eq. 8"
    backpropagates = False
    scale = 1.0

    def __init__(self, eta: float = 0.85, eta_b: float = 1.0) -> None:
        self.eta, self.eta_b = eta, eta_b

    def bind(self, setup: Setup, problems: Sequence[Problem], streams: RandomStreams) -> LinearModel:
        return linear_model(setup, problems, streams, "ddrm")

    def chain(self, setup: Setup) -> Chain:
        return DDIM().chain(setup.model.schedule, setup.chain().times)

    @property
    def losses_per_stage(self) -> int:
        return 1

    def guide(self, stage: Stage) -> Tensor:
        model: LinearModel = stage.loss
        operator, sigma_y = model.operator, model.sigma_y
        m, eps = (operator.spectrum(v) for v in (stage.x0_hat, stage.noise))  # eps = (x - m) / s
        z, values = operator.observed_spectrum(model.y), operator.singular_values(stage.x_t).expand_as(m)
        level_u = stage.sigma_u / stage.alpha_u
        xi = operator.spectrum(stage.normal(1)[0])
        kept = (1 - self.eta**2) ** 0.5 * level_u
        noise = torch.where(values > 0, sigma_y / values, torch.inf)  # of z
        free = m + kept * eps + self.eta * level_u * xi
        hidden = m + kept * (z - m) / noise.clamp_min(1e-30) + self.eta * level_u * xi
        seen_noise = (level_u**2 - (self.eta_b * noise).square()).clamp_min(0.0).sqrt()
        seen = (1 - self.eta_b) * m + self.eta_b * z + seen_noise * xi
        spectrum = torch.where(values == 0, free, torch.where(level_u < noise, hidden, seen))
        stage.logged["loss"] = model.loss(stage.x0_hat)
        return stage.landing(stage.alpha_u * operator.from_spectrum(spectrum))
