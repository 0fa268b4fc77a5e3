"""PSNR and LPIPS: restored images against their references."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from guidebench.errors import ConfigError
from guidebench.metrics.lpips import LPIPS
from guidebench.metrics.psnr import PSNR
from guidebench.models.readers.classifiers import SmallClassifier
from guidebench.models.readers.perceptual import LayerDistance
from guidebench.pixels import to_tensor
from guidebench.problems import Picture, Problem, Restoration, TextToImage

PIXELS = np.random.default_rng(0).integers(30, 220, (3, 16, 16, 3)).astype(np.uint8)


@pytest.fixture
def problems() -> list[Problem]:
    return [Restoration(f"c{i}", 0, Picture(f"p{i}", partial(PIXELS.__getitem__, i))) for i in range(3)]


@pytest.fixture
def lpips(classifier_directories: dict[str, str]) -> LPIPS:
    return LPIPS(LayerDistance(SmallClassifier(classifier_directories["features"])))


def test_psnr_of_known_errors(problems: list[Problem]) -> None:
    images = to_tensor(PIXELS) + torch.tensor([0.1, -0.01, 0.0]).view(3, 1, 1, 1)
    torch.testing.assert_close(
        PSNR().evaluate(images, problems), torch.tensor([20.0, 40.0, 100.0]), atol=1e-3, rtol=0
    )


def test_lpips_is_zero_for_equal_images_and_grows_with_noise(lpips: LPIPS, problems: list[Problem]) -> None:
    clean, noise = to_tensor(PIXELS), torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lpips.evaluate(clean, problems), torch.zeros(3))
    distances = torch.stack([lpips.evaluate(clean + level * noise, problems) for level in (0.02, 0.1, 0.4)])
    assert all((less < more).all() for less, more in pairwise(distances))


def test_lpips_by_cosines(lpips: LPIPS, problems: list[Problem]) -> None:
    """|u - v|^2 = |u|^2 + |v|^2 - 2 cos, with vectors of length 1, or 0 where a layer is silent."""
    images, network = torch.rand(3, 3, 16, 16), lpips.distance.network  # type: ignore[attr-defined]
    layers = zip(network.layers(images), network.layers(to_tensor(PIXELS)), strict=True)
    terms = []
    for f, g in layers:
        lengths = [(layer.abs().sum(1) > 0).float() for layer in (f, g)]
        terms.append((sum(lengths) - 2 * cosine_similarity(f, g, dim=1)).mean((1, 2)))
    torch.testing.assert_close(
        lpips.evaluate(images, problems), torch.stack(terms).sum(0), atol=1e-5, rtol=1e-4
    )


def test_wrong_sizes_and_problems_are_refused(lpips: LPIPS, problems: list[Problem]) -> None:
    for metric in (PSNR(), lpips):
        with pytest.raises(ConfigError, match=r"samples are 8 pixels wide.*'p0' 16"):
            metric.evaluate(torch.rand(3, 3, 8, 8), problems)
        with pytest.raises(ConfigError, match="the field 'reference'"):
            metric.evaluate(torch.rand(1, 3, 8, 8), [TextToImage("a", 0, "a", "")])
