"""Spherical CLIP distance between an image and its prompt."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.random import AUGMENTATION, RandomStreams
from guidebench.errors import ConfigError
from guidebench.losses.base import Loss, Objective
from guidebench.losses.cutouts import Crops
from guidebench.models.readers.base import Reader
from guidebench.models.readers.clip import CLIP
from guidebench.problems import Problem, field

_VARIANTS: dict[str, Literal["mean", "min"]] = {"paper": "mean", "official": "min"}


def spherical_distance(u: Tensor, v: Tensor) -> Tensor:
    """Half the squared angle between unit vectors: d = 2 asin(|u - v| / 2)^2 = theta^2 / 2.

    Evaluated as theta = 2 atan2(|u - v|, |u + v|), which equals the arcsine form for unit vectors, is
    accurate at every angle, and has a finite gradient at u = v (zero) and at u = -v (infinite for asin).

    Args:
        u: unit vectors (..., d).
        v: unit vectors (..., d), broadcast against `u`.

    Returns:
        Distances (...), in [0, pi^2 / 2].

    References:
        DOODL, Eq. 7.

    Differs from the paper: Eq. 7 prints sqrt(asin(.)), of infinite slope at 0; the official code squares.
    """
    sine, cosine = torch.linalg.vector_norm(u - v, dim=-1), torch.linalg.vector_norm(u + v, dim=-1)
    return 2 * torch.atan2(sine, cosine) ** 2


class ClipText(Loss):
    """Spherical distance between CLIP embeddings of random crops and of the prompt.

    L(x) = scale * reduce_k d(f(crop_k(x)), g(prompt)), with d = theta^2 / 2 the squared angle over two.

    Args:
        clip: the CLIP that guides; a metric must use another one.
        n_crops: crops per image, drawn anew at each call; 0 shows the whole image, resized.
        cut_power: exponent of the crop sizes, above 0 (see `cutout_sizes`).
        reduction: over the crops: `mean`, or `min`, where only an image's best crop receives a gradient; null
            takes the variant's.
        scale: multiplies the loss.
        clamp: clamp pixels to [0, 1] first, as the official code does; saturated pixels get no gradient.
        variant: `paper`, the mean over crops, or `official`, the released code's minimum.

    Cost: max(n_crops, 1) forwards and backwards of CLIP's image tower per image; texts once per batch.

    References:
        DOODL, Eq. 7, Sec. 5.1 and App. C.

    Differs from the paper: see `spherical_distance`. The paper does not say how crops are reduced; `paper` takes the
    mean, as the pipeline does from which the official code was derived.
    """

    paper: str = "DOODL, Sec. 5.1"
    reads: tuple[str, ...] = ("prompt",)

    def __init__(
        self,
        clip: CLIP,
        n_crops: int = 16,
        cut_power: float = 0.3,
        reduction: Literal["mean", "min"] | None = None,
        scale: float = 1.0,
        clamp: bool = True,
        variant: Literal["paper", "official"] = "paper",
    ) -> None:
        reduction = _VARIANTS[variant] if reduction is None else reduction
        if reduction not in ("min", "mean"):
            raise ConfigError(f"loss.reduction={reduction!r}; allowed: 'min', 'mean'.")
        self._crops = Crops(n_crops, cut_power, "clip_text")
        self.clip, self.reduction, self.scale, self.clamp = clip, reduction, scale, clamp

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.clip,)

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        prompts = field(problems, "prompt", "loss=clip_text")
        texts = self.clip.encode_text(prompts, streams.device)

        def objective(images: Tensor) -> Tensor:
            generators = streams.generators(AUGMENTATION)
            if self.clamp:
                images = images.clamp(0, 1)
            crops = self._crops(images, self.clip.image_size, generators)
            embeddings = self.clip.encode_image(crops.flatten(0, 1)).reshape(*crops.shape[:2], -1)
            distances = spherical_distance(embeddings, texts[:, None])
            return self.scale * (distances.amin(1) if self.reduction == "min" else distances.mean(1))

        return objective
