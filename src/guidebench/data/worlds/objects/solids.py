"""Solids, cameras and the ray marcher of the *objects* world.

Frame: right-handed, z up; a solid stands around the origin with its front towards +x. Azimuth turns from +x
to +y, elevation rises from the horizon, both in radians, so azimuth 0 looks at the front (the convention of
threestudio). Lengths are in units of the world: every solid fits into a ball of radius :data:`REACH`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.world import IMAGE_SIZE

Array = NDArray[np.floating]
"""float32 wherever there is one number per pixel."""
Color = tuple[float, float, float]
"""sRGB levels, 0 to 255."""

FIELD_OF_VIEW = math.radians(40.0)
"""Full angle of every camera, horizontally and vertically."""

REACH = 0.65

VIEWS: tuple[str, ...] = ("front", "side", "back", "overhead")
FRONT_BELOW = math.radians(45.0)
BACK_ABOVE = math.radians(135.0)
OVERHEAD_ABOVE = math.radians(60.0)

_BEVEL = 0.045
_MAX_STEPS = 64
_WHITE: Color = (248, 246, 240)
_DARK: Color = (38, 40, 52)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; position = distance * (cos el * cos az, cos el * sin az, sin el).

    Args:
        azimuth: radians, any; 0 looks at the front, pi / 2 at the side that faces +y.
        elevation: radians, -pi / 2 to pi / 2.
        distance: from the origin, more than `REACH`.
        target: the point in the middle of the picture.

    Raises:
        ValueError: elevation or distance out of range.
    """

    azimuth: float
    elevation: float
    distance: float
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not abs(self.elevation) <= math.pi / 2:
            raise ValueError(f"elevation is in radians, -pi/2 to pi/2, not {self.elevation}")
        if not self.distance > REACH:
            raise ValueError(
                f"distance must be more than {REACH}, outside of every solid, not {self.distance}"
            )

    @property
    def view(self) -> str:
        """Name of the view by DreamFusion's rule (azimuth borders as in threestudio).

        "overhead" above 60 degrees of elevation; else "front" below 45 degrees of azimuth to either side, "back"
        above 135, "side" between. One of `VIEWS`.

        References:
            Poole et al. 2023 (DreamFusion), section 3.2 "Text conditioning".
        """
        if self.elevation > OVERHEAD_ABOVE:
            return "overhead"
        turn = abs(math.remainder(self.azimuth, 2 * math.pi))
        return "front" if turn < FRONT_BELOW else "back" if turn > BACK_ABOVE else "side"

    @property
    def position(self) -> NDArray[np.float64]:
        """Where it stands, (3,)."""
        return self.distance * direction(self.azimuth, self.elevation)

    @property
    def axes(self) -> NDArray[np.float64]:
        """Columns right, up, backward: the rotation of camera to world, (3, 3)."""
        forward = np.asarray(self.target) - self.position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, direction(self.azimuth, self.elevation + math.pi / 2))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(right, forward), -forward], axis=1)

    def rays(self, size: int = IMAGE_SIZE) -> Array:
        """Unit directions through the centres of size x size pixels, from the top left, (size, size, 3)."""
        span = math.tan(FIELD_OF_VIEW / 2) * ((2 * np.arange(size) + 1) / size - 1)
        across, down = np.meshgrid(span, span)
        rays = np.stack([across, -down, -np.ones_like(across)], axis=-1) @ self.axes.T
        return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Mark:
    """A round spot, projected onto the surfaces that face an axis.

    Args:
        axis: the unit vector that it faces.
        centre: of the spot.
        radius: of the spot.
        color: of its paint; None is a paler tone of the solid's own.
    """

    axis: tuple[int, int, int]
    centre: tuple[float, float, float]
    radius: float
    color: Color | None


@dataclass(frozen=True)
class Solid:
    """A shape and its marks.

    Args:
        distance: (..., 3) points to a lower bound of the distance to the surface, (...), negative inside.
        floor: height of the ground that it stands on.
        marks: painted in this order.
    """

    distance: Callable[[Array], Array]
    floor: float
    marks: tuple[Mark, ...]


def direction(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """The unit vector of two angles, (3,)."""
    flat = math.cos(elevation)
    return np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])


def _common(*distances: Array) -> Array:
    """What lies inside all planes, with rounded edges; exact where their normals are orthogonal."""
    raised = np.stack(distances) + np.float32(_BEVEL)
    outside = np.sqrt((np.maximum(raised, 0) ** 2).sum(axis=0))
    return outside + np.minimum(raised.max(axis=0), 0) - np.float32(_BEVEL)


def _around(points: Array) -> Array:
    """Distance from the z axis."""
    return np.hypot(points[..., 0], points[..., 1])


def _cube(points: Array) -> Array:
    x, y, z = np.moveaxis(np.abs(points), -1, 0)
    return _common(x - 0.35, y - 0.35, z - 0.35)


def _sphere(points: Array) -> Array:
    return np.sqrt((points * points).sum(-1)) - np.float32(0.46)


def _cylinder(points: Array) -> Array:
    return _common(_around(points) - 0.37, np.abs(points[..., 2]) - 0.43)


def _torus(points: Array) -> Array:
    return np.hypot(_around(points) - 0.37, points[..., 2]) - 0.18


def _capsule(points: Array) -> Array:
    z = points[..., 2]
    return np.hypot(_around(points), z - np.clip(z, -0.28, 0.28)) - 0.27


def _slope(across: Array, z: Array, base: float, low: float, high: float) -> Array:
    """Distance to the slanted line from (base, low) to (0, high), positive on the outside."""
    length = math.hypot(base, high - low)
    return (across * (high - low) + (z - high) * base) / np.float32(length)


def _cone(points: Array) -> Array:
    z = points[..., 2]
    return _common(_slope(_around(points), z, 0.48, -0.40, 0.58), -0.40 - z)


def _pyramid(points: Array) -> Array:
    x, y, z = np.abs(points[..., 0]), np.abs(points[..., 1]), points[..., 2]
    # the angle between neighbouring sides is below 90 degrees: the rounded edge would be overestimated by 10 %
    return _common(_slope(x, z, 0.43, -0.36, 0.56), _slope(y, z, 0.43, -0.36, 0.56), -0.36 - z) / np.float32(
        1.1
    )


def _marks(apart: float, height: float, radius: float, side: float, top: float) -> tuple[Mark, ...]:
    """Two eyes on the front, a white spot towards +y, a dark one towards -y, a paler one on top.

    Args:
        apart: from the middle to the centre of an eye.
        height: of the eyes and spots.
        radius: of an eye.
        side: radius of the spots on the sides.
        top: radius of the spot on top, 0 for none.
    """
    eyes = [
        Mark((1, 0, 0), (0.0, sign * apart, height), share * radius, color)
        for sign in (-1, 1)
        for share, color in ((1.0, _WHITE), (0.5, _DARK))
    ]
    left = Mark((0, 1, 0), (0.0, 0.0, height), side, _WHITE)
    right = Mark((0, -1, 0), (0.0, 0.0, height), side, _DARK)
    above = [Mark((0, 0, 1), (0.0, 0.0, 0.0), top, None)] if top else []
    return (*eyes, left, right, *above)


SOLIDS: dict[str, Solid] = {
    "cube": Solid(_cube, -0.35, _marks(0.15, 0.07, 0.11, 0.12, 0.13)),
    "sphere": Solid(_sphere, -0.46, _marks(0.14, 0.10, 0.11, 0.12, 0.13)),
    "cylinder": Solid(_cylinder, -0.43, _marks(0.13, 0.14, 0.11, 0.12, 0.13)),
    "cone": Solid(_cone, -0.40, _marks(0.12, -0.12, 0.10, 0.11, 0.07)),
    "pyramid": Solid(_pyramid, -0.36, _marks(0.12, -0.12, 0.10, 0.11, 0.07)),
    "torus": Solid(_torus, -0.18, _marks(0.15, 0.02, 0.10, 0.11, 0.0)),
    "capsule": Solid(_capsule, -0.55, _marks(0.11, 0.20, 0.09, 0.10, 0.10)),
}


def solid_view(
    name: str,
    paint: Color,
    camera: Camera,
    light: Sequence[float] | NDArray[np.float64] = (0.0, 0.0, 1.0),
    size: int = IMAGE_SIZE,
) -> tuple[Array, Array]:
    """What a camera sees of a solid, without ground or background.

    Args:
        name: a key of `SOLIDS`.
        paint: its colour.
        camera: any.
        light: unit vector towards the light, (3,); from straight above every side is lit alike.
        size: height and width in pixels.

    Returns:
        sRGB levels from 0 to 255, (size, size, 3), 0 where the solid is not; and the share of each pixel that it
        covers, (size, size), in [0, 1]. A picture is ``mask * rgb + (1 - mask) * background``.

    Raises:
        ValueError: unknown solid.
    """
    if name not in SOLIDS:
        raise ValueError(f"solid must be one of {tuple(SOLIDS)}, not {name!r}")
    solid, rays = SOLIDS[name], camera.rays(size).reshape(-1, 3)
    origin = camera.position.astype(np.float32)
    pixel = 2 * math.tan(FIELD_OF_VIEW / 2) / size
    depth, coverage = _march(solid, origin, rays, pixel)
    seen = np.flatnonzero(coverage)
    points = origin + depth[seen, None] * rays[seen]
    rgb = np.zeros_like(rays)
    rgb[seen] = _shade(solid, paint, points, -rays[seen], np.asarray(light, np.float32), pixel * depth[seen])
    return rgb.reshape(size, size, 3), coverage.reshape(size, size)


def _march(solid: Solid, origin: Array, rays: Array, pixel: float) -> tuple[Array, Array]:
    """Sphere tracing (Hart 1996); a ray that passes within half a pixel covers its pixel in part.

    Args:
        solid: to meet.
        origin: of all rays, (3,).
        rays: unit vectors, (n, 3).
        pixel: width of a pixel at distance one.

    Returns:
        Depth where a ray meets the solid or comes nearest, and coverage, both (n,).
    """
    middle = -(rays @ origin)
    missed = origin @ origin - middle**2
    active = np.flatnonzero(missed < (REACH + pixel * middle) ** 2)
    half = np.sqrt((REACH + pixel * middle[active]) ** 2 - missed[active])
    t, end = middle[active] - half, middle[active] + half
    depth = np.zeros(len(rays), np.float32)
    nearest = np.ones(len(rays), np.float32)  # in widths of a pixel; 0 and less is a hit, 1 and more a miss
    for _ in range(_MAX_STEPS):
        width = pixel * t
        gap = solid.distance(origin + t[:, None] * rays[active]) / width + np.float32(0.5)
        closer = gap < nearest[active]
        depth[active[closer]], nearest[active[closer]] = t[closer], gap[closer]
        t = t + np.maximum(gap, 0.3) * width
        going = (gap > 0.02) & (t < end)
        active, t, end = active[going], t[going], end[going]
        if not len(active):
            break
    return depth, np.clip(1.0 - np.maximum(nearest, 0.0), 0.0, 1.0)


def _shade(solid: Solid, paint: Color, points: Array, back: Array, light: Array, width: Array) -> Array:
    """Colour of points (n, 3) seen along -back: wrapped diffuse light, light from the sky, a soft highlight."""
    normals = _normals(solid, points)
    facing = np.maximum((normals * back).sum(-1), 0.08)
    colors = np.broadcast_to(np.asarray(paint, np.float32), points.shape).copy()
    for mark in solid.marks:
        axis = np.asarray(mark.axis, np.float32)
        offset = (points - np.asarray(mark.centre, np.float32)) * (1 - np.abs(axis))
        rim = np.sqrt((offset * offset).sum(-1)) - np.float32(mark.radius)
        share = (
            np.clip(0.5 - rim * facing / width, 0, 1)
            * np.clip(4 * (normals @ axis), 0, 1)
            * (points @ axis > 0)
        )
        color = mark.color or tuple(0.55 * level + 0.45 * 255 for level in paint)
        colors += share[:, None] * (np.asarray(color, np.float32) - colors)
    diffuse = np.clip(0.25 + 0.75 * (normals @ light), 0, 1)
    sky = 0.5 + 0.5 * normals[:, 2]
    grounded = np.clip((points[:, 2] - solid.floor) / 0.25, 0, 1)
    half = back + light
    half /= np.sqrt((half * half).sum(-1, keepdims=True))
    highlight = 62 * np.clip((normals * half).sum(-1), 0, 1) ** 20
    level = (0.42 + 0.5 * diffuse + 0.16 * sky) * (0.82 + 0.18 * grounded)
    return np.clip(colors * level[:, None] + highlight[:, None], 0, 255)


def _normals(solid: Solid, points: Array) -> Array:
    """Directions of steepest rise of the distance, by differences on a tetrahedron, (n, 3)."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    slopes = solid.distance(points[:, None] + np.float32(2e-3) * corners) @ corners
    return slopes / np.maximum(np.sqrt((slopes * slopes).sum(-1, keepdims=True)), 1e-9)


def ground_shadow(name: str, camera: Camera, light: NDArray[np.float64]) -> Array:
    """How dark the ground is under a solid: its soft cast shadow and the contact with the ground, (64, 64), 0 to 1.

    Args:
        name: a key of `SOLIDS`.
        camera: any; where it sees no ground the result is 0.
        light: unit vector towards the light, above the horizon, (3,).
    """
    solid, rays = SOLIDS[name], camera.rays().reshape(-1, 3)
    origin = camera.position.astype(np.float32)
    down = np.minimum(rays[:, 2], np.float32(-1e-6))
    flat = (origin + (np.float32(solid.floor) - origin[2]) / down[:, None] * rays)[:, :2]
    near = np.flatnonzero((origin[2] > solid.floor) & ((flat * flat).sum(-1) < 1.7**2))
    points = np.concatenate([flat[near], np.full((len(near), 1), solid.floor, np.float32)], axis=1)
    taps = np.linspace(0.0, 0.95, 8, dtype=np.float32)[:, None]
    gaps = solid.distance(points + taps[..., None] * light.astype(np.float32))
    cast = np.clip(0.5 - gaps / (0.06 + 0.45 * taps), 0, 1).max(axis=0)
    contact = np.exp(-np.maximum(gaps[0], 0) / 0.09)
    shadow = np.zeros(len(rays), np.float32)
    shadow[near] = 1 - (1 - 0.34 * cast) * (1 - 0.38 * contact)
    return shadow.reshape(IMAGE_SIZE, IMAGE_SIZE)
