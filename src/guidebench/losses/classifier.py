"""Cross-entropy of a classifier for the class that the problem asks for."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss, NoisyObjective, Objective
from guidebench.models.readers.classifiers import Classifier
from guidebench.models.readers.noisy_classifier import NoisyClassifier
from guidebench.problems import Labelled, Problem, of_kind


class ClassifierLoss(Loss):
    """L(x) = -scale log p(label | x).

    Args:
        classifier: guides; a metric must use another one.
        scale: lambda, multiplies the loss.

    Cost: one forward and backward of the classifier per image. A `NoisyClassifier` serves classifier guidance too.

    References:
        LGD (Song et al. 2023), Sec. 6.3 and Tab. 4; DOODL, Sec. 5.2.
    """

    paper: str = "LGD, Tab. 4; DOODL, Sec. 5.2"
    handles: tuple[str, ...] = ("ClassConditional",)

    def __init__(self, classifier: Classifier, scale: float = 1.0) -> None:
        self.classifier, self.scale = classifier, scale

    @property
    def networks(self) -> tuple[str, ...]:
        return (self.classifier.network_id,)

    def fingerprint(self) -> str:
        return self.classifier.fingerprint()

    def load(self, device: torch.device) -> None:
        self.classifier.logits(torch.zeros(1, 3, 8, 8, device=device))

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        labels = self.classifier.labels(of_kind(Labelled, problems, "loss=classifier"), streams.device)

        def objective(images: Tensor) -> Tensor:
            log_p = self.classifier.log_probabilities(images)
            return -self.scale * log_p.gather(1, labels[:, None])[:, 0]

        return objective

    def bind_noisy(self, problems: Sequence[Problem], streams: RandomStreams) -> NoisyObjective:
        if not isinstance(self.classifier, NoisyClassifier):
            return super().bind_noisy(problems, streams)
        classifier = self.classifier
        labels = classifier.labels(of_kind(Labelled, problems, "loss=classifier"), streams.device)

        def objective(x_t: Tensor, t: float) -> Tensor:
            return self.scale * cross_entropy(classifier.noisy_logits(x_t, t), labels, reduction="none")

        return objective
