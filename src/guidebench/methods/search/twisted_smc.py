"""Twisted sequential Monte Carlo: FK steering whose particles are guided, and weighed for having been."""

from typing import Literal

import torch
from torch import Tensor

from guidebench.methods.posterior.likelihood import at_point
from guidebench.methods.posterior.stage import Stage
from guidebench.methods.search.fk_steering import FKSteering, moves
from guidebench.samplers.affine import AffineChain
from guidebench.samplers.base import Chain


class TwistedSMC(FKSteering):
    r"""A particle filter for p(x_0) exp(-scale l(x_0)) that proposes by the gradient of the loss and corrects for it.

        x_u ~ q = N(m + c^2 grad_{x_t} r(x_t), c^2 I),   m the mean of the unguided step, c its noise
        log w += r(x_t) - r(x_s) + log N(x_u; m, c^2 I) - log q(x_u)

    A step without noise, such as the last of DDIM, is not guided: its
    density is not known. So a sampler without noise makes it FK steering at the same weights. As K grows, it samples
    the target whatever the guidance.

    Cost: K samples with a backward in each step of noise, and K losses per stage and for the end.

    Args:
        n_particles: K.
        scale: inverse temperature of the target; 0 is unguided sampling itself.
        resample_below: share of K below which the effective number of particles has them drawn anew.
        chosen: which particle is the sample: "draw", by its weight, or "best", of the lowest loss.

    Differs from the paper: the variance-preserving process is stepped with as the sampler does; systematic resampling.

    References: Wu et al., "Practical and Asymptotically Exact Conditional Sampling in Diffusion Models" (TDS), NeurIPS
    2023, Algorithm 1.
    """

    paper = "TDS (Wu et al. 2023), Algorithm 1"
    backpropagates = True

    def __init__(
        self,
        n_particles: int = 4,
        scale: float = 1.0,
        resample_below: float = 0.5,
        chosen: Literal["best", "draw"] = "draw",
    ) -> None:
        super().__init__(n_particles, scale, 1, resample_below, chosen)

    def look(self, stage: Stage) -> tuple[Tensor, Tensor]:
        if not moves(stage.chain, stage.k):
            return super().look(stage)
        estimate = at_point(lambda x0: self.scale * stage.loss(x0), stage.x0_hat)
        proposal = stage.moved(_noise(stage.chain, stage.k) ** 2 * stage.pull_back(estimate.grad))
        usable = torch.isfinite(proposal.flatten(1)).all(1) & torch.isfinite(estimate.log_p)
        return estimate.log_p, torch.where(usable.view(-1, *[1] * (proposal.ndim - 1)), proposal, stage.eps)

    def correction(self, chain: Chain, k: int, change: Tensor, noise: Tensor | None) -> Tensor | float:
        if noise is None or not moves(chain, k):
            return 0.0
        shift = chain.gain(k) / _noise(chain, k) * change.flatten(1)  # in standard deviations of the step
        return -(shift * noise.flatten(1)).sum(1) - 0.5 * shift.square().sum(1)


def _noise(chain: Chain, k: int) -> float:
    """c of a step that moves."""
    assert isinstance(chain, AffineChain)
    return chain.steps[k].c
