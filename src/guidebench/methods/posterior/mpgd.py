"""Manifold-preserving guided diffusion, without projection."""

from typing import Literal

from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import at_point
from guidebench.methods.posterior.stage import Stage


class MPGD(Guidance):
    r"""Move the one-step estimate down the loss, not through the network; keep the predicted noise.

        x0' = x0_hat - c_t grad l(x0_hat);   step from x0' and the unguided eps_hat

    Cost per stage: one forward of the network, one forward and backward of the loss.

    Args:
        scale: c; 0 is unguided sampling itself.
        variant: "paper", c_t = scale, or "official", c_t = scale / alpha_u of the next time u, with which the released
            code moves x_u by scale times the gradient.

    References: He et al., "Manifold Preserving Guided Diffusion", ICLR 2024, Algorithm 1 (without projection).
    """

    paper = "MPGD (He et al. 2024), Algorithm 1"
    backpropagates = False

    def __init__(self, scale: float = 1.0, variant: Literal["paper", "official"] = "paper") -> None:
        self.scale, self.variant = scale, variant

    def guide(self, stage: Stage) -> Tensor:
        estimate = at_point(stage.loss, stage.x0_hat)
        stage.log(estimate)
        moved_by = stage.alpha_u * self.scale if self.variant == "paper" else self.scale
        return stage.moved(moved_by * estimate.grad)
