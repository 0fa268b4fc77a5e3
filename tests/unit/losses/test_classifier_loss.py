"""The guiding cross-entropy against torch's."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.losses.classifier import ClassifierLoss
from guidebench.models.classifiers import SmallClassifier
from guidebench.problems import ClassConditional, TextToImage
from tiny_models import CLASSES


@pytest.fixture
def loss(classifier_directories: dict[str, str]) -> ClassifierLoss:
    return ClassifierLoss(SmallClassifier(classifier_directories["guide"]), scale=3.0)


def test_value_and_gradient(loss: ClassifierLoss) -> None:
    problems = [ClassConditional(f"c{i}", 0, i, CLASSES[i]) for i in (2, 0, 3)]
    images = torch.rand(3, 3, 16, 16, requires_grad=True)
    values = loss.bind(problems, RandomStreams(problems))(images)
    expected = 3 * cross_entropy(loss.classifier.logits(images), torch.tensor([2, 0, 3]), reduction="none")
    torch.testing.assert_close(values, expected)
    ours, theirs = (torch.autograd.grad(v.sum(), images, retain_graph=True)[0] for v in (values, expected))
    torch.testing.assert_close(ours, theirs)
    assert loss.networks == (loss.classifier.network_id,)


def test_problems_without_a_class_are_refused(loss: ClassifierLoss) -> None:
    problems = [TextToImage("a", 0, "a cat", "")]
    with pytest.raises(ConfigError, match="loss=classifier needs Labelled problems, got TextToImage"):
        loss.bind(problems, RandomStreams(problems))
