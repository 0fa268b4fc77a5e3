"""FreeDoM: energy guidance with time travel."""

from typing import Literal

import torch
from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import at_point, rowwise
from guidebench.methods.posterior.stage import Stage
from guidebench.samplers.base import Chain


class FreeDoM(Guidance):
    r"""Move each step down the loss at the one-step estimate; take the steps of the middle back and make them again.

        x_u = step(x_t) - rho_t grad_{x_t} l(x0_hat(x_t))
        rho_t = scale alpha_t                           (rule="alpha")
        rho_t = scale rms(eps_hat) / rms(grad) sigma_t / alpha_t alpha_u (1 - r) / (1 - alpha_bar_t),
            r = alpha_bar_t / alpha_bar_u               (rule="relative", each sample's own)

    with alpha_bar = alpha^2 / (alpha^2 + sigma^2), alpha^2 itself where variance is preserved.

    Cost: one forward and one backward of network and loss per stage, `n_repeats` times in the travelled part.

    Args:
        scale: rho (paper: 0.02 for rule="relative"); 0 is unguided sampling itself.
        rule: how rho_t follows the step.
        n_repeats: how often each step of the travelled part is made (paper: 10 for ImageNet); 1 = no time travel.
        travel_from, travel_to: that part, as fractions of the chain: steps after which at least `travel_to` and at most
            `travel_from` of it is still to come (paper: times 800 to 500 of 1000, with 100 steps from 990 to 0).

    Differs from the paper: `relative` is the rule of the released code, which takes both norms over the whole batch.

    References: Yu et al., "FreeDoM: Training-Free Energy-Guided Conditional Diffusion Model", ICCV 2023, Algorithm 2.
    """

    paper = "FreeDoM (Yu et al. 2023), Algorithm 2"

    def __init__(
        self,
        scale: float = 1.0,
        rule: Literal["alpha", "relative"] = "alpha",
        n_repeats: int = 10,
        travel_from: float = 0.8,
        travel_to: float = 0.5,
    ) -> None:
        self.scale, self.rule, self.n_repeats = scale, rule, n_repeats
        self.travel_from, self.travel_to = travel_from, travel_to

    def repeats(self, chain: Chain, step: int) -> int:
        n_steps = len(chain.times) - 1
        ahead = (n_steps - 1 - step) / n_steps
        return self.n_repeats if self.travel_to <= ahead <= self.travel_from else 1

    def guide(self, stage: Stage) -> Tensor:
        estimate = at_point(stage.loss, stage.x0_hat)
        stage.log(estimate)
        g = stage.pull_back(estimate.grad)
        if self.rule == "alpha":
            return stage.moved(self.scale * stage.alpha_t * g)
        if stage.alpha_t == 0.0:  # the noise level, and with it the rule's step, is infinite
            return stage.eps
        (norm_t, norm_u), level = stage.norms, stage.sigma_t / stage.alpha_t
        bar_t, bar_u = (stage.alpha_t / norm_t) ** 2, (stage.alpha_u / norm_u) ** 2
        factor = level * stage.alpha_u * (1 - bar_t / bar_u) / (stage.sigma_t / norm_t) ** 2
        return stage.moved(self.scale * factor * rowwise(_rms(stage.eps) / _rms(g).clamp_min(_TINY), g) * g)


_TINY = torch.finfo(torch.float32).tiny


def _rms(x: Tensor) -> Tensor:
    """Root mean square of each row, (b,)."""
    return x.flatten(1).square().mean(1).sqrt()
