"""Anti-aliased drawing by signed distances: a canvas of 64x64 pixels and the outlines that the worlds use."""

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.world import IMAGE_SIZE

Array = NDArray[np.float64]
Color = tuple[float, float, float]
"""sRGB levels, 0 to 255."""


class Canvas:
    """A picture under construction; distances are in pixels, y points down, (0, 0) is the top left corner.

    Args:
        background: (64, 64, 3) sRGB levels, or one colour.
    """

    def __init__(self, background: Array | Color) -> None:
        self.pixels = np.array(np.broadcast_to(np.asarray(background, float), (IMAGE_SIZE, IMAGE_SIZE, 3)))
        centres = np.arange(IMAGE_SIZE) + 0.5
        self.points: Array = np.stack(np.meshgrid(centres, centres), axis=-1)
        """Centres of the pixels, (64, 64, 2) as (x, y)."""

    def fill(self, distance: Array, color: Array | Color, opacity: float = 1.0, soft: float = 1.0) -> None:
        """Paint where the distance is negative.

        Args:
            distance: signed distance to the outline in pixels, (64, 64), negative inside.
            color: one colour, or one per pixel, (64, 64, 3).
            opacity: 0 to 1.
            soft: width of the edge in pixels; 1 is anti-aliasing, more is a blur.
        """
        coverage = opacity * np.clip(0.5 - distance / soft, 0.0, 1.0)[..., None]
        self.pixels += coverage * (np.asarray(color, float) - self.pixels)

    def window(self, rows: slice, columns: slice) -> "Canvas":
        """The same canvas seen through a rectangle: what is painted there shows here."""
        part = copy.copy(self)
        part.pixels, part.points = self.pixels[rows, columns], self.points[rows, columns]
        return part

    def image(self) -> NDArray[np.uint8]:
        """The picture, (64, 64, 3)."""
        return np.clip(np.rint(self.pixels), 0, 255).astype(np.uint8)


def gradient(points: Array, color: Color, change: float, angle: float) -> Array:
    """A colour that brightens linearly along a direction, (..., 3).

    Args:
        points: (..., 2) in pixels of the canvas.
        color: at the centre of the canvas.
        change: sRGB levels from the centre to an edge.
        angle: direction in radians.
    """
    along = (points - IMAGE_SIZE / 2) @ np.array([np.cos(angle), np.sin(angle)]) / (IMAGE_SIZE / 2)
    return np.asarray(color, float) + (change * along)[..., None]


def ellipse(points: Array, centre: Sequence[float], radii: Sequence[float], angle: float = 0.0) -> Array:
    """Signed distance to an ellipse, to first order near its outline.

    Args:
        points: (..., 2).
        centre: (x, y).
        radii: the two half axes in pixels, before rotation along x and y.
        angle: clockwise rotation in radians (y points down).
    """
    local = rotate(points - np.asarray(centre, float), -angle)
    scaled = local / np.asarray(radii, float)
    norm = np.linalg.norm(scaled, axis=-1)
    slope = np.linalg.norm(scaled / np.asarray(radii, float), axis=-1)
    return norm * (norm - 1.0) / np.maximum(slope, 1e-9)


def polygon(points: Array, corners: Sequence[Sequence[float]] | Array) -> Array:
    """Signed distance to a simple polygon with corners (k, 2)."""
    start = np.asarray(corners, float)
    edge = np.roll(start, -1, axis=0) - start
    offset = points[..., None, :] - start
    along = np.clip((offset * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12), 0.0, 1.0)
    nearest = offset - along[..., None] * edge
    distance = np.sqrt((nearest**2).sum(-1).min(axis=-1))
    end_y = start[:, 1] + edge[:, 1]
    y = points[..., 1:2]
    crosses = (start[:, 1] > y) != (end_y > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_x = start[:, 0] + offset[..., 1] * edge[:, 0] / edge[:, 1]
    inside = (crosses & (points[..., 0:1] < at_x)).sum(axis=-1) % 2 == 1
    return np.where(inside, -distance, distance)


def stroke(points: Array, path: Sequence[Sequence[float]] | Array, width: float | Sequence[float]) -> Array:
    """Signed distance to a polyline with round joints.

    Args:
        points: (..., 2).
        path: at least two points, (k, 2).
        width: full width in pixels, one number or one per point of the path (tapering linearly between).
    """
    path = np.asarray(path, float)
    half = np.broadcast_to(np.asarray(width, float) / 2, len(path))
    edge = np.diff(path, axis=0)
    offset = points[..., None, :] - path[:-1]
    along = np.clip((offset * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(offset - along[..., None] * edge, axis=-1)
    return (distance - (half[:-1] + along * np.diff(half))).min(axis=-1)


def rotate(points: Array, angle: float) -> Array:
    """Rotate (..., 2) points about the origin, clockwise as seen on the canvas, by radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def smooth(corners: Sequence[Sequence[float]] | Array, per_corner: int = 6) -> Array:
    """A closed Catmull-Rom curve through the corners, sampled: (k * per_corner, 2)."""
    p1 = np.asarray(corners, float)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = np.arange(per_corner)[None, :, None] / per_corner
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return curve.reshape(-1, 2)
