"""How far a morph is, to the eye, from the pictures it was made of."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.perceptual import PerceptualDistance
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, field


class ParentDistance(Metric):
    """The mean of LPIPS to both people's pictures.

    Args:
        distance: the network and how its layers are weighed.

    Cost: four forwards of the network per image.

    References: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.
    """

    paper: str = "Zhang et al. 2018"
    reads: tuple[str, ...] = ("a", "b")
    higher_is_better: bool = False
    unit: str = ""

    def __init__(self, distance: PerceptualDistance) -> None:
        self.distance = distance

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.distance,)

    @property
    def protocol(self) -> str:
        return f"mean over both people's pictures; {self.distance.network_id}; {self.distance.weighing}"

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        pictures = (field(problems, side, "metric=parent_distance") for side in self.reads)
        parents = [to_tensor([p.load() for p in side], images.device) for side in pictures]
        return torch.stack([self.distance(images, parent) for parent in parents]).mean(dim=0)
