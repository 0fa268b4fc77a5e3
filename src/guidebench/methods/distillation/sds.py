"""SDS, and what is left of it without the projection."""

from torch import Tensor

from guidebench.methods.distillation.base import Distillation
from guidebench.methods.distillation.look import Look


class SDS(Distillation):
    """Score distillation sampling: g = eps_w - eps = g_cond + g_proj.

    Cost: 2 network rows per view and step.

    References: Poole et al., "DreamFusion: Text-to-3D using 2D Diffusion", ICLR 2023, Eq. 3.
    """

    paper = "DreamFusion (Poole et al. 2023), Eq. 3"

    def gradient(self, look: Look) -> Tensor:
        return look.eps_w - look.eps
