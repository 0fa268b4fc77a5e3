"""Universal guidance: forward, backward and with self-recurrence."""

import torch
from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import at_point
from guidebench.methods.posterior.stage import Stage
from guidebench.samplers.base import Chain


class UniversalGuidance(Guidance):
    r"""Guide the noise forward through the network, then move the estimate backward without it; repeat each step.

        forward:  eps' = eps_hat + forward sigma_t grad_{x_t} l(x0_hat(x_t))
        backward: Delta = n_backward gradient steps on l(x0_hat + Delta) from 0;  eps' -= alpha_t / sigma_t Delta

    Cost per stage: one forward and one backward of the network, 1 + n_backward of the loss; `n_repeats` times over.

    Args:
        scale: multiplies the loss; 0 is unguided sampling itself.
        forward: s, weight of the forward part.
        n_backward: m, gradient steps of the backward part.
        backward_rate: their length.
        n_repeats: k, how often each step is made.

    Differs from the paper: the backward part descends by plain gradient steps; the paper leaves the optimiser open.

    References: Bansal et al., "Universal Guidance for Diffusion Models", CVPRW 2023, Algorithm 1.
    """

    paper = "Universal Guidance (Bansal et al. 2023), Algorithm 1"

    def __init__(
        self,
        scale: float = 1.0,
        forward: float = 1.0,
        n_backward: int = 0,
        backward_rate: float = 0.1,
        n_repeats: int = 1,
    ) -> None:
        self.scale, self.forward, self.n_backward = scale, forward, n_backward
        self.backward_rate, self.n_repeats = backward_rate, n_repeats

    def repeats(self, chain: Chain, step: int) -> int:
        return self.n_repeats

    @property
    def losses_per_stage(self) -> int:
        return 1 + self.n_backward

    def guide(self, stage: Stage) -> Tensor:
        estimate = at_point(lambda x0: self.scale * stage.loss(x0), stage.x0_hat)
        stage.log(estimate, self.scale)
        eps = stage.scored(self.forward * stage.pull_back(estimate.grad))
        delta = torch.zeros_like(stage.x0_hat)
        for i in range(self.n_backward):
            here = (
                estimate if i == 0 else at_point(lambda x0: self.scale * stage.loss(x0), stage.x0_hat + delta)
            )
            delta = delta + self.backward_rate * here.grad
        return stage.estimating(eps, delta)
