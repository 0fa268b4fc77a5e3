"""Accuracy, cross-entropy and inception score against torch and the definition."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from guidebench.errors import ConfigError
from guidebench.metrics.accuracy import Accuracy
from guidebench.metrics.inception_score import InceptionScore
from guidebench.metrics.label_nll import LabelNLL
from guidebench.models.readers.classifiers import SmallClassifier
from guidebench.problems import ClassConditional, TextToImage
from tiny_models import CLASSES


@pytest.fixture
def judge(classifier_directories: dict[str, str]) -> SmallClassifier:
    return SmallClassifier(classifier_directories["judge"])


def asked(labels: list[int]) -> list[ClassConditional]:
    return [ClassConditional(f"case-{i}", 0, label, CLASSES[label]) for i, label in enumerate(labels)]


def test_accuracy_and_loss_are_those_of_the_logits(judge: SmallClassifier) -> None:
    images = torch.rand(8, 3, 16, 16)
    logits = judge.logits(images)
    labels = logits.argmax(1)
    labels[:3] = (labels[:3] + 1) % 4
    problems = asked(labels.tolist())
    assert Accuracy(judge).evaluate(images, problems).tolist() == [0, 0, 0, 100, 100, 100, 100, 100]
    expected = cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(LabelNLL(judge).evaluate(images, problems), expected)


@pytest.mark.parametrize("metric", [Accuracy, LabelNLL])
def test_problems_without_a_class_are_refused(judge: SmallClassifier, metric: type) -> None:
    with pytest.raises(ConfigError, match="reads the field 'label' of a problem, and case"):
        metric(judge).evaluate(torch.rand(1, 3, 16, 16), [TextToImage("a", 0, "a cat", "")])


def test_inception_score_of_known_sets(judge: SmallClassifier) -> None:
    metric, none = InceptionScore(judge), np.zeros((0, 0))
    assert metric.value(np.eye(4), none) == pytest.approx(4)  # certain and varied
    assert metric.value(np.full((9, 4), 0.25), none) == pytest.approx(1)  # uncertain
    assert metric.value(np.tile([1.0, 0, 0, 0], (9, 1)), none) == pytest.approx(1)  # all alike
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    by_entropies = np.exp(-(rows.mean(0) * np.log(rows.mean(0))).sum() + (rows * np.log(rows)).sum(1).mean())
    assert metric.value(rows, none) == pytest.approx(by_entropies)
    probabilities = metric.features(torch.rand(3, 3, 16, 16))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))
