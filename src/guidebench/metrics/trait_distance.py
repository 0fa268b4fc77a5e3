"""How near a morph comes to both people in the numbers that make them: the truth that recognisers guess at."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.traits import TraitRegressor
from guidebench.problems import Problem, field


class TraitDistance(Metric):
    """max over both people of |t(x) - t_p| / |t_a - t_b|, t(x) the morph's numbers as a network reads them.

    Exactly between both people it is 0.5, at either of them 1. Only rendered people have numbers, and the network has
    guided nothing: what a recogniser is deceived by without resembling both shows here.

    Args:
        regressor: reads the numbers.

    Cost: one forward of the network per image.
    """

    paper: str = "ours"
    reads: tuple[str, ...] = ("traits_a", "traits_b")
    higher_is_better: bool = False
    unit: str = ""

    def __init__(self, regressor: TraitRegressor) -> None:
        self.regressor = regressor

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.regressor,)

    @property
    def protocol(self) -> str:
        return f"distance to the farther person over that between both, by {self.regressor.network_id}"

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        found = self.regressor.traits(images)
        a, b = (
            torch.tensor(
                field(problems, side, "metric=trait_distance"), dtype=found.dtype, device=found.device
            )
            for side in self.reads
        )
        apart = torch.linalg.vector_norm(a - b, dim=1)
        away = [torch.linalg.vector_norm(found - person, dim=1) for person in (a, b)]
        return torch.maximum(*away) / apart
