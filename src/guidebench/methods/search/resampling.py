"""Resampling: sample N times and draw one of them by its weight exp(-loss)."""

import torch
from torch import Tensor

from guidebench.diffusion.random import METHOD, RandomStreams
from guidebench.methods.search.best_of_n import BestOfN


class Resampling(BestOfN):
    """Sampling importance resampling: a draw from p(x) exp(-scale l(x)) / Z as N grows.

        P[x = x_i] = w_i / sum_j w_j,   w_i = exp(-scale l(x_i)),   x_i ~ p

    The draw is made by the Gumbel-max rule: i = argmax_i(-scale l(x_i) + g_i). Its bias falls as 1 / N and grows with
    the spread of the weights; the history has their effective number, (sum w)^2 / sum w^2. Cost: N samples, N losses.

    Args:
        n: N.
        scale: inverse temperature of the target; 0 is unguided sampling itself, infinity is the best of N.

    References: Rubin, "Using the SIR algorithm to simulate posterior distributions", 1988.
    """

    paper = "sampling importance resampling (Rubin 1988)"

    def __init__(self, n: int = 4, scale: float = 1.0) -> None:
        super().__init__(n if scale else 1)
        self.scale = scale

    def score(self, loss: Tensor, streams: RandomStreams) -> Tensor:
        uniform = torch.special.ndtr(streams.normal((1,), METHOD)[:, 0].double())
        return -self.scale * loss - (-uniform.log()).log().to(loss)

    def curves(self, loss: Tensor) -> dict[str, Tensor]:
        weights = torch.softmax(-self.scale * loss.nan_to_num(torch.inf), dim=1)
        return {"loss": loss, "ess": 1 / weights.square().sum(1, keepdim=True)}
