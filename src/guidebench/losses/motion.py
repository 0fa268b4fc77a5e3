"""Where a moving person should go: along a path, or to a point and around an obstacle."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss, Objective
from guidebench.problems import MotionControl, Problem, of_kind


def root_on_floor(motions: Tensor) -> Tensor:
    """Floor positions (x, z) of the root, (b, frames, 2), metres, of motions (b, frames, 3 joints), root first."""
    return motions[..., [0, 2]]


def along(path: Sequence[tuple[float, float]], frames: int) -> Tensor:
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


class PathFollowing(Loss):
    """Squared distance of the root from a path, summed over the frames: L = sum_i |y_i - root_i|^2, metres squared.

    y_i goes from the origin through the problem's way points, see `along`.

    Args:
        scale: multiplies the loss.

    References: Song et al. 2023 (LGD), Eq. 14.

    Differs from the paper: it does not say whether y has a height; here y and the root are points on the floor (x, z).
    """

    paper = "Song et al. 2023 (LGD), Eq. 14"
    handles = ("MotionControl",)
    networks = ()

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def fingerprint(self) -> str:
        return "no networks"

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        paths = [p.path for p in of_kind(MotionControl, problems, "loss=path_following")]

        def objective(motions: Tensor) -> Tensor:
            goal = torch.stack([along(path, motions.shape[1]) for path in paths]).to(motions)
            return self.scale * (root_on_floor(motions) - goal).square().sum((1, 2))

        return objective


class ObstacleAvoidance(Loss):
    """End at a point and keep away from an obstacle.

    L = |y - root_last|^2 + sum_i weight * sigmoid(-sharpness (|root_i - obstacle|^2 - radius)), where y is the last way
    point; a problem without an obstacle pays the first term alone.

    Args:
        radius: of the obstacle; compared with squared metres, as the paper does.
        weight: price of a frame inside the obstacle.
        sharpness: of its border.
        scale: multiplies the loss.

    References: Song et al. 2023 (LGD), Eqs. 15 and 20.

    Differs from the paper: it does not say whether points have a height; here they are points on the floor (x, z).
    """

    paper = "Song et al. 2023 (LGD), Eqs. 15 and 20"
    handles = ("MotionControl",)
    networks = ()

    def __init__(
        self, radius: float = 1.0, weight: float = 100.0, sharpness: float = 50.0, scale: float = 1.0
    ) -> None:
        self.radius, self.weight, self.sharpness, self.scale = radius, weight, sharpness, scale

    def fingerprint(self) -> str:
        return "no networks"

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        controls = of_kind(MotionControl, problems, "loss=obstacle_avoidance")
        ends = torch.tensor([p.path[-1] for p in controls])
        obstacles = torch.tensor([p.obstacle or (0.0, 0.0) for p in controls])
        present = torch.tensor([float(p.obstacle is not None) for p in controls])

        def objective(motions: Tensor) -> Tensor:
            root = root_on_floor(motions)
            missed = (root[:, -1] - ends.to(root)).square().sum(-1)
            apart = (root - obstacles.to(root)[:, None]).square().sum(-1)
            price = penalty(apart, self.radius, self.weight, self.sharpness).sum(1)
            return self.scale * (missed + present.to(root) * price)

        return objective
