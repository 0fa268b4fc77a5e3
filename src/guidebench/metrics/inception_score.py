"""Inception score: are images clearly of one class, and the set of many?"""

from typing import cast

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

from guidebench.metrics.base import FloatArray, SetMetric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.classifiers import Classifier


class InceptionScore(SetMetric):
    """exp of the mean over images of KL(p(class | image) || p(class)), p(class) the mean over the set.

    From 1 to the number of classes.

    Args:
        classifier: gives the probabilities; must not be the one that guided.

    Cost: one forward of the classifier per image.

    References:
        Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016.

    Differs from the paper: any classifier of one class per image, named in the protocol; all samples at once instead of
    the mean over ten parts.
    """

    paper: str = "Salimans et al. 2016"
    higher_is_better: bool = True
    unit: str = ""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.classifier,)

    def fingerprint(self) -> str:
        return f"probabilities; {self.classifier.fingerprint()}"

    @property
    def protocol(self) -> str:
        return f"probabilities of {self.classifier.network_id}; all samples in one part"

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        return self.classifier.log_probabilities(images).exp()

    def value(self, features: FloatArray, reference: FloatArray) -> float:
        if not len(features):
            return float("nan")
        return float(np.exp(cast(FloatArray, rel_entr(features, features.mean(axis=0))).sum(axis=1).mean()))
