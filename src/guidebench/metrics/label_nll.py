"""Classifier loss: how improbable a classifier that did not guide finds the class that was asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.classifiers import Classifier
from guidebench.problems import Problem


class LabelNLL(Metric):
    """-log p(label | image), the cross-entropy of the judge.

    Args:
        classifier: judges; must not be the one that guided.

    Cost: one forward of the classifier per image.

    References:
        LGD (Song et al. 2023), Tab. 4.

    Differs from the paper: its unit is not stated, and its numbers fit sums over batches of 32; this is a mean.
    """

    paper: str = "LGD, Tab. 4"
    reads: tuple[str, ...] = ("label", "name")
    higher_is_better: bool = False
    unit: str = "nats"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.classifier,)

    @property
    def protocol(self) -> str:
        return f"cross-entropy; judge {self.classifier.network_id}; whole image, antialiased bilinear"

    def check(self, problems: Sequence[Problem]) -> None:
        self.classifier.labels(problems)

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        labels = self.classifier.labels(problems, images.device)
        return -self.classifier.log_probabilities(images).gather(1, labels[:, None])[:, 0]
