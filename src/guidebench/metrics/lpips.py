"""LPIPS: the distance between a restored image and its reference in the layers of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.metrics.reference import reference_images
from guidebench.models.readers.base import Reader
from guidebench.models.readers.perceptual import PerceptualDistance
from guidebench.problems import Problem


class LPIPS(Metric):
    """Learned perceptual image patch similarity to the reference: 0 for equal images.

    Args:
        distance: the network and how its layers are weighed.

    Cost: two forwards of the network per image.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.
    """

    paper: str = "Zhang et al. 2018"
    reads: tuple[str, ...] = ("reference",)
    higher_is_better: bool = False
    unit: str = ""

    def __init__(self, distance: PerceptualDistance) -> None:
        self.distance = distance

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.distance,)

    @property
    def protocol(self) -> str:
        return f"{self.distance.network_id}; {self.distance.weighing}"

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        return self.distance(images, reference_images(images, problems, "metric=lpips"))
