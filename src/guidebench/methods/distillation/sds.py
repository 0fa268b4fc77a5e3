"""SDS, and methods that keep only its part that points to the prompt."""

from collections.abc import Sequence
from typing import Any

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


class ConditionOnly(Distillation):
    """The prompt's part of SDS alone: g = g_cond = w (eps_c - eps_u). Under `divide` it does not depend on w at all.

    Cost: 2 network rows per view and step.

    References: Alldieck et al., LMC-SDS, ECCV 2024, Eq. 6 (there L_cond); without its negative prompt, CSD is the same.
    """

    paper = "LMC-SDS (Alldieck et al. 2024), Eq. 6"

    def gradient(self, look: Look) -> Tensor:
        return look.g_cond


class CSD(Distillation):
    """Classifier score distillation: g = w (eps_c - eps_u) + w_n (eps_u - eps_n), away from a negative prompt.

    Cost: 3 network rows per view and step.

    Args:
        negative_prompt: what the result should not be.
        negative_weight: w_n.

    References: Yu et al., "Text-to-3D with Classifier Score Distillation", ICLR 2024.

    Differs from the paper: w_n is constant, where the paper may anneal it.
    """

    paper = "CSD (Yu et al. 2024)"
    evaluations = 3

    def __init__(self, negative_prompt: str = "", negative_weight: float = 1.0, **shared: Any) -> None:
        super().__init__(**shared)
        self.negative_prompt, self.negative_weight = negative_prompt, negative_weight

    def gradient(self, look: Look) -> Tensor:
        eps_n = look.ask(look.z_t, [self.negative_prompt] * len(look.z))
        return look.g_cond + self.negative_weight * (look.eps_u - eps_n)


class SDSBridge(Distillation):
    """A bridge from where the canvas is to the prompt: g = w (eps_c - eps_s), a source prompt in the place of null.

    The source prompt is the prompt with `suffix` behind it, words for what distillation does wrong.

    Cost: 2 network rows per view and step.

    Args:
        suffix: of the source prompt.

    References: McAllister et al., "Rethinking Score Distillation as a Bridge Between Image Distributions",
    NeurIPS 2024.

    Differs from the paper: bridges from the first step, where it begins with a phase of SDS.
    """

    paper = "SDS-Bridge (McAllister et al. 2024)"

    def __init__(
        self,
        suffix: str = (
            ", oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
        ),
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.suffix = suffix

    def null_prompts(self, prompts: Sequence[str]) -> list[str]:
        return [prompt + self.suffix for prompt in prompts]

    def gradient(self, look: Look) -> Tensor:
        return look.g_cond
