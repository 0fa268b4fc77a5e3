"""Loss-guided diffusion with the loss at the one-step estimate."""

from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import at_point
from guidebench.methods.posterior.stage import Injection, Stage


class LGDDPS(Guidance):
    """Guide by the loss at the one-step estimate: g = -scale grad_{x_t} l(x0_hat(x_t)).

    What LGD-MC becomes where r_t = 0. Cost per stage: one forward and one backward of network and loss.

    Args:
        scale: lambda; 0 is unguided sampling itself.
        injection: how g enters the step.

    References: Song et al., "Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation", ICML 2023, eq. 8.
    """

    paper = "LGD, Eq. 8"

    def __init__(self, scale: float = 1.0, injection: Injection = "score") -> None:
        self.scale, self.injection = scale, injection

    def guide(self, stage: Stage) -> Tensor:
        estimate = at_point(stage.loss, stage.x0_hat)
        stage.log(estimate)
        g = stage.pull_back(estimate.grad)
        return stage.injected(g, self.injection, self.scale, estimate.log_p)
