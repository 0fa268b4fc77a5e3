"""MS-SDS: the one-step estimate of SDS replaced by one of several steps."""

from typing import Any

from torch import Tensor

from guidebench.methods.distillation.base import Distillation
from guidebench.methods.distillation.look import Look


class MSSDS(Distillation):
    """Multi-step SDS: g = (alpha_t / sigma_t) (z - x0_K), x0_K the end of K DDIM steps from z_t to the clean sample.

    Times are spread evenly from t to 0 and every step is guided with w. K = 1 is SDS.

    Cost: 2 K network rows per view and step.

    Args:
        k: steps.

    References: Zhou & Tulsiani, "SparseFusion", CVPR 2023, for the idea; K = 5 as in LMC-SDS, whose sampler and
    weighting are not printed.
    """

    paper = "LMC-SDS (Alldieck et al. 2024), Sec. 5; after SparseFusion"

    def __init__(self, k: int = 5, **shared: Any) -> None:
        super().__init__(**shared)
        self.k, self.evaluations = k, 2 * k

    def gradient(self, look: Look) -> Tensor:
        x, t, alpha, sigma, eps = look.z_t, look.t, look.alpha_t, look.sigma_t, look.eps_w
        x0 = (x - sigma * eps) / alpha
        for j in range(1, self.k):
            t = (look.t * (self.k - j) / self.k).round()
            alpha, sigma = look.coefficients(t)
            x = alpha * x0 + sigma * eps
            eps_u, eps_c = look.both(x, t)
            eps = eps_u + look.cfg_scale * (eps_c - eps_u)
            x0 = (x - sigma * eps) / alpha
        return look.alpha_t / look.sigma_t * (look.z - x0)
