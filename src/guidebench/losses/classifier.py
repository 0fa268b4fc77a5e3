"""Cross-entropy of a classifier for the class that the problem asks for."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import cross_entropy

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss, NoisyObjective, Objective
from guidebench.models.readers.base import Reader
from guidebench.models.readers.classifiers import Classifier
from guidebench.models.readers.noisy_classifier import NoisyClassifier
from guidebench.problems import Problem


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
    reads: tuple[str, ...] = ("label", "name")

    def __init__(self, classifier: Classifier, scale: float = 1.0) -> None:
        self.classifier, self.scale = classifier, scale

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.classifier,)

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        labels = self.classifier.labels(problems, streams.device)

        def objective(images: Tensor) -> Tensor:
            log_p = self.classifier.log_probabilities(images)
            return -self.scale * log_p.gather(1, labels[:, None])[:, 0]

        return objective

    def bind_noisy(self, problems: Sequence[Problem], streams: RandomStreams) -> NoisyObjective:
        if not isinstance(self.classifier, NoisyClassifier):
            return super().bind_noisy(problems, streams)
        classifier = self.classifier
        labels = classifier.labels(problems, streams.device)

        def objective(x_t: Tensor, t: float) -> Tensor:
            return self.scale * cross_entropy(classifier.noisy_logits(x_t, t), labels, reduction="none")

        return objective
