"""What motions are asked to do, as numbers: losses guide by them, metrics report them.

Motions are (b, frames, d), floating point, metres: positions of the joints, the root first, and whatever else a model
knows. Points lie on the floor, (x, z).
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Point = tuple[float, float]
"""(x, z) on the floor, metres."""


def root_on_floor(motions: Tensor) -> Tensor:
    """Floor positions of the root, (b, frames, 2)."""
    return motions[..., [0, 2]]


@lru_cache(maxsize=1024)
def along(path: tuple[tuple[float, float], ...], frames: int) -> Tensor:
    """Where a walk from the origin through the way points is at each frame, (frames, 2), float64.

    Each stretch takes equally many frames; frame 0 is at the origin and the last one at the last way point.
    """
    corners = torch.tensor([(0.0, 0.0), *path], dtype=torch.float64)
    return interpolate(corners.T[None], size=frames, mode="linear", align_corners=True)[0].T


def penalty(distance_squared: Tensor, radius: float, weight: float, sharpness: float) -> Tensor:
    """weight * sigmoid(-sharpness (d^2 - radius)): the obstacle's price of one frame.

    References: Song et al. 2023 (LGD), Eq. 20: the *squared* distance is compared with the radius, so deep inside the
        obstacle the price is flat and its gradient vanishes.
    """
    return weight * torch.sigmoid(-sharpness * (distance_squared - radius))


def path_error(motions: Tensor, paths: Sequence[tuple[Point, ...]]) -> Tensor:
    """Squared distance of the root from the path, summed over the frames: sum_i |y_i - root_i|^2, (b,).

    References: Song et al. 2023 (LGD), Eq. 14.
    """
    wanted = torch.stack([along(path, motions.shape[1]) for path in paths])
    return (root_on_floor(motions) - wanted.to(motions)).square().sum((1, 2))


def obstacle_cost(
    motions: Tensor,
    paths: Sequence[tuple[Point, ...]],
    obstacles: Sequence[Point | None],
    radius: float = 1.0,
    weight: float = 100.0,
    sharpness: float = 50.0,
) -> Tensor:
    """|y - root_last|^2 + sum_i penalty(|root_i - obstacle|^2), (b,), where y is the last way point.

    Where there is no obstacle, the first term is all.

    References: Song et al. 2023 (LGD), Eqs. 15 and 20.
    """
    root = root_on_floor(motions)
    ends = torch.tensor([path[-1] for path in paths]).to(motions)
    middles = torch.tensor([obstacle or (0.0, 0.0) for obstacle in obstacles]).to(motions)
    present = torch.tensor([obstacle is not None for obstacle in obstacles]).to(motions)
    missed = (root[:, -1] - ends).square().sum(-1)
    apart = (root - middles[:, None]).square().sum(-1)
    return missed + present * penalty(apart, radius, weight, sharpness).sum(1)
