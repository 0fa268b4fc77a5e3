"""CLIP score: how well an image fits its prompt, judged by a CLIP that did not guide."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.clip import CLIP
from guidebench.problems import Problem, field


class ClipScore(Metric):
    """100 max(cos(f(x), g(prompt)), 0): the whole image, the bare prompt without a template.

    Args:
        clip: the CLIP that scores; must not be the one that guided.

    Cost: one forward of CLIP's image tower and one of its text tower per image.

    References:
        Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", EMNLP 2021;
        DOODL, Sec. 5.1 and Fig. 5.

    Differs from the paper: Hessel et al. scale by 2.5 and put "A photo depicts" before the caption. Like
    torchmetrics and the generation literature we scale by 100 and use the prompt as it is. DOODL does not
    name its scoring variant.
    """

    paper: str = "DOODL, Fig. 5"
    reads: tuple[str, ...] = ("prompt",)
    higher_is_better: bool = True
    unit: str = "100 x cosine"

    def __init__(self, clip: CLIP) -> None:
        self.clip = clip

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.clip,)

    @property
    def protocol(self) -> str:
        return (
            f"100*max(cos,0); {self.clip.network_id}; bare prompt; whole image, antialiased bicubic; "
            f"{self.clip.normalisation} pixel statistics; {self.clip.precision}"
        )

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        prompts = field(problems, "prompt", "metric=clip_score")
        cosines = (self.clip.encode_image(images) * self.clip.encode_text(prompts, images.device)).sum(-1)
        return 100 * cosines.clamp(min=0)
