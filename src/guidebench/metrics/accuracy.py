"""Accuracy: how often a classifier that did not guide finds the class that was asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.classifiers import Classifier
from guidebench.problems import Problem


class Accuracy(Metric):
    """100 where the judge's most probable class is the problem's, else 0; the mean is top-1 accuracy in percent.

    Args:
        classifier: judges; must not be the one that guided.

    Cost: one forward of the classifier per image.

    References:
        LGD (Song et al. 2023), Tab. 1 (ResNet-50 on restored images).
    """

    paper: str = "LGD, Tab. 1"
    reads: tuple[str, ...] = ("label", "name")
    higher_is_better: bool = True
    unit: str = "%"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.classifier,)

    @property
    def protocol(self) -> str:
        return f"top-1 accuracy; judge {self.classifier.network_id}; whole image, antialiased bilinear"

    def check(self, problems: Sequence[Problem]) -> None:
        self.classifier.labels(problems)

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        labels = self.classifier.labels(problems, images.device)
        return 100 * (self.classifier.log_probabilities(images).argmax(dim=1) == labels).float()
