"""Morphing by landmarks: both faces are warped to the shape between them and averaged; no network takes part."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Generation, Method, Setup
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, field
from guidebench.samples import Part

FloatArray = NDArray[np.float64]

_FRAME = np.array([(x, y) for x in (0.0, 0.5, 1.0) for y in (0.0, 0.5, 1.0) if (x, y) != (0.5, 0.5)])


class LandmarkMorph(Method):
    """The average of both pictures, each warped so that its landmarks lie where the weighted means of both lie.

    The warp is affine on each triangle of the means' Delaunay triangulation, to which corners and middles of the sides
    of the picture belong, so that all of it is covered. What Webmorph, FaceMorpher and OpenCV's recipe do, without
    their retouching of what lies outside the face. No network is asked; cost: 0.

    Args:
        weight: of the second person.

    References: Scherhag et al., "Face recognition systems under morphing attacks: a survey", IEEE Access 2019.
    """

    paper = "landmark-based morphing (Scherhag et al. 2019)"
    reads = ("a", "b", "landmarks_a", "landmarks_b")
    conditions = True
    uses = ()

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        pictures = [*field(problems, "a", "method"), *field(problems, "b", "method")]
        images = to_tensor([picture.load() for picture in pictures], setup.model.device)
        return Generation(
            {"sample": Part("image", warped_average(images, problems, self.weight))}, Cost(), Cost()
        )

    def cost(self, setup: Setup) -> Cost:
        return Cost()


def warped_average(images: Tensor, problems: Sequence[Problem], weight: float = 0.5) -> Tensor:
    """Landmark morphs, (b, 3, H, W).

    Args:
        images: first people's pictures, then second people's, (2 b, 3, H, W).
        problems: b of them, with landmarks.
        weight: of the second person.
    """
    places = [
        np.array([*field(problems, name, "method")], np.float64) for name in ("landmarks_a", "landmarks_b")
    ]
    morphs = []
    for row, (image_a, image_b) in enumerate(zip(*images.chunk(2), strict=True)):
        marks_a, marks_b = (_in_pixels(side[row], images.shape[-2:]) for side in places)
        mean = (1.0 - weight) * marks_a + weight * marks_b
        warped = [_warped(image, mean, marks) for image, marks in ((image_a, marks_a), (image_b, marks_b))]
        morphs.append((1.0 - weight) * warped[0] + weight * warped[1])
    stacked = np.stack(morphs).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked).to(images.device, images.dtype).clamp(0, 1)


def _in_pixels(places: FloatArray, size: Sequence[int]) -> FloatArray:
    """Landmarks and the picture's frame as (x, y) in pixels, where (0, 0) is the middle of the first pixel."""
    height, width = size
    return np.concatenate([places, _FRAME]) * [width, height] - 0.5


def _warped(image: Tensor, to: FloatArray, marks: FloatArray) -> FloatArray:
    """The image (3, H, W), moved so that what lies at `marks` comes to lie at `to`; (H, W, 3)."""
    from skimage.transform import PiecewiseAffineTransform, warp

    backwards = PiecewiseAffineTransform.from_estimate(to, marks)
    moved: FloatArray = warp(image.double().cpu().numpy().transpose(1, 2, 0), backwards, mode="edge")
    return moved
