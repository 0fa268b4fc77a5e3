"""Aesthetic score by a head that did not guide."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.aesthetic import AestheticHead
from guidebench.models.readers.base import Reader
from guidebench.problems import Problem


class AestheticScore(Metric):
    """The head's score of the whole image, about 1 to 10, not clipped.

    Args:
        head: predicts the score; its CLIP must not be the one that guided.

    Cost: one forward of CLIP's image tower per image.

    References: LAION's aesthetic predictor, as in DOODL, Sec. 5.3 and App. A.

    Differs from the paper: DOODL's studies of appeal ask people.
    """

    paper: str = "DOODL, Sec. 5.3"
    higher_is_better: bool = True
    unit: str = ""

    def __init__(self, head: AestheticHead) -> None:
        self.head = head

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.head.clip, self.head)

    @property
    def protocol(self) -> str:
        clip, head = (reader.network_id for reader in self.readers)
        return f"linear score of the whole image; {head} on normalised embeddings of {clip}"

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        return self.head.score(images)
