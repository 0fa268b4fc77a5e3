"""A head to paint on: places on a face are given in units of half its width, and follow its turn and tilt."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.animals.traits import Animal
from guidebench.data.worlds.drawing import Array, Canvas, Color, ellipse, polygon, rotate, smooth, stroke
from guidebench.data.worlds.world import IMAGE_SIZE

Place = Sequence[float]
"""(x, y) on the face: x to the right, y down, (0, 0) the middle of the head, 1 is half the head's width."""


class Head:
    """Paints on a canvas in the coordinates of a face.

    A place (x, y) lies at depth z towards the viewer, on a bulging face unless a depth is given. A turn by the yaw
    moves it to x cos(yaw) + z sin(yaw), a tilt by the roll then rotates the picture plane.

    Args:
        canvas: what to paint on.
        animal: whose head.
    """

    def __init__(self, canvas: Canvas, animal: Animal) -> None:
        self.canvas = canvas
        self.size, self.roll, self.centre = animal.size, animal.roll, np.array([animal.x, animal.y])
        self._cos, self._sin = np.cos(animal.yaw), np.sin(animal.yaw)
        self.local: Array = rotate(canvas.points - self.centre, -animal.roll) / animal.size
        """Places of the pixels in the picture plane, tilt undone, (64, 64, 2)."""
        self.inside: Array = np.full((IMAGE_SIZE, IMAGE_SIZE), -np.inf)
        """Signed distance to what paint is kept within, pixels."""

    def project(self, places: Sequence[Place] | Array, depth: float | None = None) -> Array:
        """Places (k, 2) as pixels (k, 2)."""
        at = np.asarray(places, float)
        z = self._bulge(at) if depth is None else np.full(len(at), depth)
        turned = np.stack([at[:, 0] * self._cos + z * self._sin, at[:, 1]], axis=-1)
        return rotate(turned * self.size, self.roll) + self.centre

    def outline(self, corners: Sequence[Place], fringe: Array) -> Array:
        """Signed distance to a closed curve around (0, 0), (64, 64) in pixels.

        Args:
            corners: of the right half from top to bottom, (k, 2).
            fringe: what to add to the radius, one value per degree of the direction (clockwise, 0 is right), (360,).
        """
        right = np.asarray(corners, float)
        whole = smooth(np.concatenate([right, right[-2:0:-1] * (-1.0, 1.0)]))
        whole[:, 0] += 0.5 * self._sin * np.clip(whole[:, 1], 0.0, 1.0) * np.sqrt(np.abs(whole[:, 1]))
        degrees = np.degrees(np.arctan2(whole[:, 1], whole[:, 0]))
        order = np.argsort(degrees)
        radius = fringe + np.interp(
            np.arange(360.0), degrees[order], np.linalg.norm(whole, axis=-1)[order], period=360.0
        )
        steep = np.sqrt(1.0 + (np.gradient(radius) / np.radians(1.0) / radius) ** 2)
        direction = np.degrees(np.arctan2(self.local[..., 1], self.local[..., 0])) % 360.0
        index = np.arange(361.0)
        reach = np.interp(direction, index, np.append(radius, radius[0]))
        slope = np.interp(direction, index, np.append(steep, steep[0]))
        distance: Array = self.size * (np.linalg.norm(self.local, axis=-1) - reach) / slope
        return distance

    def spot(
        self,
        color: Color,
        at: Place,
        radii: Place,
        angle: float = 0.0,
        *,
        depth: float | None = None,
        soft: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Fill an ellipse; on the face it narrows where the face turns away."""
        narrow = self._cos
        if depth is None:
            step = self.project([(at[0] - 0.05, at[1]), (at[0] + 0.05, at[1])]) / (0.1 * self.size)
            narrow = np.clip(np.linalg.norm(step[1] - step[0]), 0.55, 1.05)
        centre = self.project([at], depth)[0]
        half = (radii[0] * self.size * narrow, radii[1] * self.size)
        self._fill(
            lambda points: ellipse(points, centre, half, self.roll + angle),
            centre[None],
            max(half) + soft,
            color,
            soft,
            opacity,
        )

    def spots(self, color: Color, at: Place, radii: Place, angle: float = 0.0, **how: float) -> None:
        """Fill an ellipse on the right of the face and its mirror image on the left."""
        self.spot(color, at, radii, angle, **how)
        self.spot(color, (-at[0], at[1]), radii, -angle, **how)

    def patch(
        self,
        color: Color,
        corners: Sequence[Place],
        *,
        depth: float | None = None,
        soft: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Fill a closed smooth curve through corners."""
        curve = smooth(self.project(corners, depth), 3)
        self._fill(lambda points: polygon(points, curve), curve, soft, color, soft, opacity)

    def patches(self, color: Color, corners: Sequence[Place], **how: float) -> None:
        """Fill a closed smooth curve on the right of the face and its mirror image on the left."""
        self.patch(color, corners, **how)
        self.patch(color, [(-x, y) for x, y in corners], **how)

    def middle(
        self, color: Color, corners: Sequence[Place], *, soft: float = 1.0, opacity: float = 1.0
    ) -> None:
        """Fill a closed smooth curve across the middle, given the corners of its right half from top to bottom."""
        left = [(-x, y) for x, y in reversed(corners) if x]
        self.patch(color, (*corners, *left), soft=soft, opacity=opacity)

    def line(
        self,
        color: Color,
        path: Sequence[Place],
        width: float | Sequence[float],
        *,
        depth: float | None = None,
        soft: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Draw a line; its width, constant or one per point, is in units of the head too."""
        pixels = self.project(path, depth)
        widths = (np.broadcast_to(width, len(pixels)) * self.size).tolist()
        self._fill(
            lambda points: stroke(points, pixels, widths),
            pixels,
            max(widths) + soft,
            color,
            soft,
            opacity,
        )

    def lines(
        self, color: Color, path: Sequence[Place], width: float | Sequence[float], **how: float
    ) -> None:
        """Draw a line on the right of the face and its mirror image on the left."""
        self.line(color, path, width, **how)
        self.line(color, [(-x, y) for x, y in path], width, **how)

    def _fill(
        self,
        distance: Callable[[Array], Array],
        corners: Array,
        reach: float,
        color: Color,
        soft: float,
        opacity: float,
    ) -> None:
        """Paint inside `self.inside`, touching only the pixels within reach of the corners."""
        low = np.clip(np.floor(corners.min(axis=0) - reach - 1.0), 0, IMAGE_SIZE).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0) + reach + 1.0), 0, IMAGE_SIZE).astype(int)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        coverage = np.clip(0.5 - distance(self.canvas.points[window]) / soft, 0.0, 1.0)
        coverage *= opacity * np.clip(0.5 - self.inside[window], 0.0, 1.0)
        pixels = self.canvas.pixels[window]
        pixels += coverage[..., None] * (np.asarray(color, float) - pixels)

    @staticmethod
    def _bulge(places: Array) -> NDArray[np.float64]:
        depth: Array = 0.9 * np.sqrt(np.clip(1.0 - 0.7 * (places**2).sum(axis=-1), 0.0, 1.0))
        return depth
