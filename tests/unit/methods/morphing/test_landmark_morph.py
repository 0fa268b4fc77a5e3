"""Warps by landmarks, on pictures whose features can be found again."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Setup
from guidebench.methods.morphing.dim import DiM
from guidebench.methods.morphing.encoders import Inversion
from guidebench.methods.morphing.landmarks import LandmarkMorph
from guidebench.methods.morphing.parents import encode_parents
from guidebench.problems import Morph, Picture
from guidebench.samplers.ddim import DDIM
from tiny_faces import TinyAutoencoder

SIDE = 64


def spot(x: float, y: float) -> NDArray[np.uint8]:
    """A white spot on black, centred at a place given as shares of the sides."""
    xs, ys = np.meshgrid(*2 * [(np.arange(SIDE) + 0.5) / SIDE])
    level = 255 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 0.05**2))
    return np.repeat(level[..., None], 3, axis=2).round().astype(np.uint8)


def morph(a: tuple[float, float], b: tuple[float, float]) -> Morph:
    pictures = [Picture(f"spot {place}", partial(spot, *place)) for place in (a, b)]
    return Morph("a-b", 0, *pictures, "a", "b", landmarks_a=(a,), landmarks_b=(b,))


def peak(image: torch.Tensor) -> tuple[float, float]:
    """The brightest pixel's middle, as shares of the sides."""
    row, column = divmod(int(image.mean(dim=0).argmax()), SIDE)
    return (column + 0.5) / SIDE, (row + 0.5) / SIDE


def test_a_feature_comes_to_lie_between_both_and_stays_one(model: TinyAutoencoder) -> None:
    problems = [morph((0.35, 0.4), (0.6, 0.7)), morph((0.5, 0.5), (0.5, 0.5))]
    made = LandmarkMorph(0.4).generate(problems, Setup(model))
    np.testing.assert_allclose(peak(made.samples[0]), (0.45, 0.52), atol=1 / SIDE)
    assert made.samples[0].max() > 0.9  # a plain average would have two spots of half the light
    expected = torch.from_numpy(spot(0.5, 0.5)).permute(2, 0, 1) / 255
    torch.testing.assert_close(made.samples[1], expected, atol=1e-5, rtol=0)
    assert made.cost == Cost() and made.samples.dtype == torch.float32


def test_the_ends_are_the_pictures_themselves(model: TinyAutoencoder) -> None:
    problem = morph((0.35, 0.4), (0.6, 0.7))
    for weight, picture in ((0.0, problem.a), (1.0, problem.b)):
        made = LandmarkMorph(weight).generate([problem], Setup(model))
        torch.testing.assert_close(
            made.samples[0], torch.from_numpy(picture.load()).permute(2, 0, 1) / 255, atol=1e-5, rtol=0
        )


def test_variant_d_reads_landmarks_and_encodes_the_warped_mean(model: TinyAutoencoder) -> None:
    assert (
        "landmarks_a" in DiM(pre_morph="warp").reads and "landmarks_a" not in DiM(pre_morph="average").reads
    )
    problem = Morph(
        "a-b",
        0,
        *(Picture(f"{i}", partial(np.full, (4, 4, 3), 50 * i, np.uint8)) for i in (1, 2)),
        "a",
        "b",
        landmarks_a=((0.3, 0.4),),
        landmarks_b=((0.5, 0.6),),
    )
    setup = Setup(model, DDIM(4))
    both = [encode_parents([problem], setup, Inversion(), how) for how in ("average", "warp")]  # type: ignore[arg-type]
    torch.testing.assert_close(
        both[0].x_T[0], both[1].x_T[0], atol=1e-4, rtol=1e-4
    )  # flat pictures: warps do nothing
