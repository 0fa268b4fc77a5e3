"""A wanted aesthetic score."""

from collections.abc import Sequence

from torch import Tensor

from guidebench.diffusion.random import AUGMENTATION, RandomStreams
from guidebench.losses.base import Loss, Objective
from guidebench.losses.cutouts import Crops
from guidebench.models.readers.aesthetic import AestheticHead
from guidebench.models.readers.base import Reader
from guidebench.problems import Problem


class Aesthetic(Loss):
    """Distance of an image's aesthetic score from a target.

    L(x) = scale * |mean_k s_k - target|, s_k = clip(score(crop_k(x)), 1, 10); without a target, -scale * mean_k s_k.

    Args:
        head: predicts the score.
        target: wanted score; null asks for the largest.
        n_crops: crops per image, drawn anew at each call; 0 shows the whole image, resized.
        cut_power: exponent of the crop sizes, above 0 (see `cutout_sizes`).
        scale: multiplies the loss.

    Cost: max(n_crops, 1) forwards and backwards of CLIP's image tower per image.

    References:
        DOODL, Sec. 5.3 and App. A, and its official code; the score is LAION's.

    Differs from the paper: one head; the demo of the official code averages the scores of two. As there, a crop whose
    score lies outside [1, 10] gets no gradient.
    """

    paper: str = "DOODL, Sec. 5.3"

    def __init__(
        self,
        head: AestheticHead,
        target: float | None = 10.0,
        n_crops: int = 16,
        cut_power: float = 0.3,
        scale: float = 1.0,
    ) -> None:
        self._crops = Crops(n_crops, cut_power, "aesthetic")
        self.head, self.target, self.scale = head, target, scale

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.head.clip, self.head)

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        def objective(images: Tensor) -> Tensor:
            generators = streams.generators(AUGMENTATION)
            crops = self._crops(images.clamp(0, 1), self.head.clip.image_size, generators)
            scores = self.head.score(crops.flatten(0, 1)).clamp(1, 10).reshape(crops.shape[:2]).mean(1)
            return self.scale * (-scores if self.target is None else (scores - self.target).abs())

        return objective
