"""Loss-guided diffusion with a Monte Carlo estimate of the loss."""

from typing import Literal

from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import Draws, draw_noise, monte_carlo
from guidebench.methods.posterior.stage import Injection, Stage


class LGDMC(Guidance):
    r"""Guide by the loss averaged over a Gaussian around the one-step estimate.

        x_i = x0_hat + r_t e_i,  e_i ~ N(0, I),  r_t = sigma / sqrt(1 + sigma^2),  sigma = sigma_t / alpha_t
        g   = grad_{x_t} log 1/n sum_i exp(-scale l(x_i)) = -J^T sum_i softmax_i(-scale l(x_i)) scale grad l(x_i)

    Cost per stage: one forward and one backward of the network, `n_mc` of the loss. The history has the effective
    number of draws: where it is near 1, the estimate is the loss at the best of n draws.

    Args:
        scale: lambda, inside the exponential: a temperature; 0 is unguided sampling itself.
        n_mc: number of draws n.
        weight: factor on g outside the exponential (paper: 1; s_t^2 in super-resolution).
        spread: r_t: "paper", or "posterior", the exact standard deviation of p(x_0 | x_t), from models that know it.
        draws: "independent" as in the paper, "antithetic" or "stratified".
        injection: how g enters the step.
        chunk: draws whose loss is evaluated at once; null = all. The result does not depend on it, but which random
            augmentations a loss draws does.

    Differs from the paper: none in the default; `spread` and `draws` have choices that lower the error.

    References: Song et al., "Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation", ICML 2023, eq. 9,
    Sec. 4.2.
    """

    paper = "LGD, Eq. 9"

    def __init__(
        self,
        scale: float = 1.0,
        n_mc: int = 10,
        weight: float = 1.0,
        spread: Literal["paper", "posterior"] = "paper",
        draws: Draws = "independent",
        injection: Injection = "score",
        chunk: int | None = None,
    ) -> None:
        self.scale, self.n_mc, self.weight = scale, n_mc, weight
        self.spread, self.draws, self.injection, self.chunk = spread, draws, injection, chunk

    @property
    def losses_per_stage(self) -> int:
        return self.n_mc

    def guide(self, stage: Stage) -> Tensor:
        estimate = monte_carlo(
            lambda x0: self.scale * stage.loss(x0),
            stage.x0_hat,
            draw_noise(stage.normal, self.n_mc, self.draws),
            stage.paper_spread if self.spread == "paper" else stage.posterior_spread(),
            self.chunk,
        )
        stage.log(estimate, self.scale)
        g = stage.pull_back(estimate.grad)
        return stage.injected(g, self.injection, self.weight, estimate.log_p)
