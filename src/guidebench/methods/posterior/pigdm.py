"""Pseudoinverse-guided diffusion."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.methods.base import Setup
from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.linear_model import LinearModel, linear_model
from guidebench.methods.posterior.stage import Injection, Stage
from guidebench.problems import Problem
from guidebench.samplers.base import Chain


class PiGDM(Guidance):
    r"""Guide a linear problem by the exact likelihood of a Gaussian around the one-step estimate.

        g = r_t^2 J^T H^T (r_t^2 H H^T + sigma_y^2 I)^-1 (y - H x0_hat);   J^T H^+ (y - H x0_hat) where sigma_y = 0

    It is r_t^2 times the gradient of log N(y; H x0_hat, r_t^2 H H^T + sigma_y^2 I), what LGD-MC tends to for a squared
    error and n = infinity. Cost per stage: one forward and one backward of the network.

    Args:
        scale: factor on g; 0 is unguided sampling itself.
        injection: how g enters the step: "pigdm_paper", "pigdm_code", or "score" for the gradient itself.
        init: "noise", or "observation" as the authors' code does: alpha_T H^+ y + sigma_T noise.

    Differs from the paper: the authors' code multiplies by sqrt(alpha_bar_t alpha_bar_u) instead of sqrt(alpha_bar_t),
    with which there are reports of NaN; the default is the code's.

    References: Song et al., "Pseudoinverse-Guided Diffusion Models for Inverse Problems", ICLR 2023, Algorithm 1.
    """

    paper = "PiGDM (Song et al. 2023), Algorithm 1"

    def __init__(
        self,
        scale: float = 1.0,
        injection: Injection = "pigdm_code",
        init: Literal["noise", "observation"] = "noise",
    ) -> None:
        self.scale, self.injection, self.init = scale, injection, init

    def bind(self, setup: Setup, problems: Sequence[Problem], streams: RandomStreams) -> LinearModel:
        return linear_model(setup, problems, streams, "pigdm")

    def start(self, chain: Chain, x_T: Tensor, loss: LinearModel) -> Tensor:
        if self.init == "noise":
            return x_T
        schedule, T = chain.schedule, chain.times[0]
        shown = schedule.alpha(T) * loss.operator.pseudo_inverse(loss.y)
        return shown + schedule.sigma(T) / schedule.prior_std * x_T

    def guide(self, stage: Stage) -> Tensor:
        model: LinearModel = stage.loss
        r = stage.paper_spread
        error = model.y - model.operator(stage.x0_hat)
        stage.logged["loss"] = squares = model.loss(stage.x0_hat)
        g = stage.pull_back(model.operator.whitened_adjoint(error, r, model.sigma_y))
        return stage.injected(
            g / r**2 if self.injection == "score" else g, self.injection, self.scale, -squares
        )
