"""NFSD: SDS without the noise that no prediction explains."""

from typing import Any

import torch
from torch import Tensor

from guidebench.methods.distillation.base import Distillation
from guidebench.methods.distillation.look import Look


class NFSD(Distillation):
    """Noise-free score distillation: g = d_D + g_cond, with eps never subtracted.

        d_D = eps_u                where t is below the share `early` of the schedule, else eps_u - eps_n

    and eps_n the prediction under a prompt for what is out of domain.

    Cost: 3 network rows per view and step; 2 would do where t is small, but a batch is asked as one.

    Args:
        negative_prompt: p_neg.
        early: share of the schedule, 0.2 in the paper.

    References: Katzir et al., "Noise-Free Score Distillation", ICLR 2024. No code was released.
    """

    paper = "NFSD (Katzir et al. 2024)"
    evaluations = 3

    def __init__(
        self,
        negative_prompt: str = (
            "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
        ),
        early: float = 0.2,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.negative_prompt, self.early = negative_prompt, early

    def gradient(self, look: Look) -> Tensor:
        eps_n = look.ask(look.z_t, [self.negative_prompt] * len(look.z))
        schedule = look.network.model.schedule
        late = look.t >= self.early * round(schedule.t_max + 1 if schedule.t_max > 1 else schedule.t_max)
        return look.eps_u - torch.where(late.view_as(look.alpha_t), eps_n, 0) + look.g_cond
