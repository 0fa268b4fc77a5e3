"""The guiding cross-entropy against torch's."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.losses.classifier import ClassifierLoss
from guidebench.models.readers.classifiers import SmallClassifier
from guidebench.models.readers.noisy_classifier import NoisyClassifier
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
    assert loss.readers == (loss.classifier,)


def test_problems_without_a_class_are_refused(loss: ClassifierLoss) -> None:
    problems = [TextToImage("a", 0, "a cat", "")]
    with pytest.raises(ConfigError, match="reads the field 'label' of a problem, and case"):
        loss.bind(problems, RandomStreams(problems))


def test_a_classifier_that_knows_noise_guides_noisy_images() -> None:
    architecture = {"image_size": 8, "model_channels": 32, "channel_mult": [1], "num_res_blocks": 1}
    architecture |= {"attention_resolutions": [], "num_head_channels": 32}
    classifier = NoisyClassifier("tiny", CLASSES, architecture, random_weights=True)
    problems = [ClassConditional(f"c{i}", 0, i, CLASSES[i]) for i in (2, 0)]
    loss, streams = ClassifierLoss(classifier, scale=3.0), RandomStreams(problems)
    x, labels = torch.randn(2, 3, 8, 8), torch.tensor([2, 0])
    expected = 3 * cross_entropy(classifier.noisy_logits(x, 70), labels, reduction="none")
    torch.testing.assert_close(loss.bind_noisy(problems, streams)(x, 70), expected)
    clean = 3 * cross_entropy(classifier.noisy_logits(x, 1), labels, reduction="none")
    torch.testing.assert_close(loss.bind(problems, streams)(x / 2 + 0.5), clean)


def test_a_classifier_of_clean_images_guides_no_noisy_ones(loss: ClassifierLoss) -> None:
    problems = [ClassConditional("c", 0, 0, CLASSES[0])]
    with pytest.raises(ConfigError, match="trained on noise"):
        loss.bind_noisy(problems, RandomStreams(problems))
