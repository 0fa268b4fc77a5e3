"""Peak signal-to-noise ratio of restored images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.metrics.reference import reference_images
from guidebench.problems import Problem


class PSNR(Metric):
    """-10 log10 mean((x - reference)^2), over pixels and channels in [0, 1]; at most 100 dB, so that it is finite.

    References:
        LGD (Song et al. 2023) restores images; PSNR is the field's first measure of that.
    """

    paper: str = "image restoration; beside LGD, Tab. 1"
    reads: tuple[str, ...] = ("reference",)
    higher_is_better: bool = True
    unit: str = "dB"
    protocol: str = "peak 1, all pixels and channels in RGB, no border cut, 8-bit samples"

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        error = (images - reference_images(images, problems, "metric=psnr")).square().flatten(1).mean(dim=1)
        return -10 * error.clamp(min=1e-10).log10()
