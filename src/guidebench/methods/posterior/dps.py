"""Diffusion posterior sampling with the step of its authors."""

from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import at_point
from guidebench.methods.posterior.stage import Stage


class DPS(Guidance):
    r"""Move each step down the root of the loss at the one-step estimate.

        x_u = step(x_t) - scale grad_{x_t} sqrt(l(x0_hat(x_t)))

    For l = ||y - A x_0||^2 that is the norm ||y - A x0_hat||, whose gradient has no unit of l; the norm is each
    sample's own. Cost per stage: one forward and one backward of network and loss.

    Args:
        scale: zeta' (paper: 0.3 for super-resolution and deblurring, 0.5 for inpainting, with 1000 steps of DDPM and
            loss.spread = 0.35355, which makes l the squared error of pixels in [-1, 1]); 0 is unguided sampling itself.

    Differs from the paper: the authors' code takes the norm over the whole batch, so that results depend on its size.

    References: Chung et al., "Diffusion Posterior Sampling for General Noisy Inverse Problems", ICLR 2023, Algorithm 1.
    """

    paper = "DPS (Chung et al. 2023), Algorithm 1"

    def __init__(self, scale: float = 0.3) -> None:
        self.scale = scale

    def guide(self, stage: Stage) -> Tensor:
        estimate = at_point(stage.loss, stage.x0_hat)
        stage.log(estimate)
        g = stage.pull_back(estimate.grad)
        return stage.injected(g, "dps_norm", self.scale, estimate.log_p)
