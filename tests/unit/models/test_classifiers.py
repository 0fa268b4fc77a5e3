"""Classifier adapters: preprocessing, classes, gradients, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms.v2 import functional as transforms

from guidebench.errors import ConfigError, WeightsError
from guidebench.models.networks.small_classifiers import SmallResNet, SmallVGG
from guidebench.models.readers.classifiers import Classifier, SmallClassifier, TorchvisionClassifier
from guidebench.problems import ClassConditional
from tiny_models import CLASSES, make_classifier_directory


@pytest.mark.parametrize(("name", "module"), [("judge", SmallResNet), ("guide", SmallVGG)])
def test_logits_are_those_of_the_module_on_normalised_images(
    classifier_directories: dict[str, str], name: str, module: type
) -> None:
    directory = classifier_directories[name]
    classifier = SmallClassifier(directory)
    network = module([4, 6], 4)
    network.load_state_dict(load_file(f"{directory}/model.safetensors"))
    network.eval()
    images = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(classifier.logits(images), network((images - 0.5) / 0.25))
    torch.testing.assert_close(classifier.log_probabilities(images).exp().sum(1), torch.ones(3))
    torch.testing.assert_close(network.head(classifier.pooled(images)), classifier.logits(images))
    assert [layer.shape[1] for layer in classifier.layers(images)] == [4, 6]
    assert classifier.classes == CLASSES and directory in classifier.network_id


def test_images_of_another_size_are_resized_and_cropped(classifier_directories: dict[str, str]) -> None:
    classifier = SmallClassifier(classifier_directories["judge"])
    images = torch.rand(2, 3, 32, 48)
    small = transforms.center_crop(transforms.resize(images, [16], antialias=True), [16, 16])
    torch.testing.assert_close(classifier.logits(images), classifier.logits(small))


def test_gradients_reach_the_images_and_not_the_weights(classifier_directories: dict[str, str]) -> None:
    classifier = SmallClassifier(classifier_directories["guide"])
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    classifier.logits(images).square().sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0 and images.grad.dtype == torch.float64
    assert not classifier.logits(images.detach()).requires_grad


def test_labels_are_checked_by_name(classifier_directories: dict[str, str]) -> None:
    classifier = SmallClassifier(classifier_directories["judge"])
    good = [ClassConditional("a", 0, 3, "lion"), ClassConditional("b", 0, 0, "cat")]
    assert classifier.labels(good).tolist() == [3, 0]
    for label, name in ((0, "lion"), (4, "lion"), (-1, "lion")):
        with pytest.raises(ConfigError, match=f"class {label} is .*the dataset's is 'lion'"):
            classifier.labels([ClassConditional("a", 0, label, name)])


def test_attributes_have_no_probabilities(tmp_path: Path) -> None:
    classifier = SmallClassifier(str(make_classifier_directory(tmp_path, multilabel=True)))
    assert classifier.logits(torch.rand(1, 3, 16, 16)).shape == (1, 4)
    with pytest.raises(ConfigError, match="do not exclude each other"):
        classifier.log_probabilities(torch.rand(1, 3, 16, 16))


def test_random_weights_are_other_weights_and_always_the_same(tmp_path: Path) -> None:
    directory = str(make_classifier_directory(tmp_path))
    trained, random = SmallClassifier(directory), SmallClassifier(directory, random_weights=True)
    images = torch.rand(2, 3, 16, 16)
    assert not torch.allclose(trained.logits(images), random.logits(images))
    assert trained.network_id != random.network_id and trained.fingerprint() != random.fingerprint()
    assert SmallClassifier(directory, random_weights=True)._load() is random._load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "transformer"}, "architecture"),
        ({"classes": ["cat"]}, "another shape"),
        ({"mean": None}, "'mean' is missing"),
    ],
)
def test_a_directory_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    make_classifier_directory(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(WeightsError, match=message):
        SmallClassifier(str(tmp_path)).logits(torch.rand(1, 3, 16, 16))


def test_torchvision_brings_classes_and_preprocessing() -> None:
    classifier = TorchvisionClassifier("resnet18", "IMAGENET1K_V1", random_weights=True)
    assert len(classifier.classes) == 1000 and classifier.classes[281] == "tabby"
    network = resnet18()
    network.load_state_dict(classifier._load().module.state_dict())
    preset = ResNet18_Weights.IMAGENET1K_V1.transforms()
    images = torch.rand(1, 3, 256, 300)
    torch.testing.assert_close(classifier.logits(images), network.eval()(preset(images)))
    assert isinstance(classifier, Classifier) and "random" in classifier.fingerprint()


@pytest.mark.parametrize(("architecture", "weights"), [("resnet5", "DEFAULT"), ("resnet18", "IMAGENET1K_V7")])
def test_unknown_torchvision_weights_are_refused(architecture: str, weights: str) -> None:
    with pytest.raises(WeightsError, match="torchvision knows no weights"):
        TorchvisionClassifier(architecture, weights).logits(torch.rand(1, 3, 8, 8))
