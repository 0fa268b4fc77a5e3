"""Where a moving person should go: along a path, or to a point and around an obstacle."""

from collections.abc import Sequence
from typing import ClassVar

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss, Objective
from guidebench.motion.objectives import obstacle_cost, path_error
from guidebench.problems import Problem, field
from guidebench.samples import SampleKind


class PathFollowing(Loss):
    """Squared distance of the root from a path, summed over the frames: L = scale sum_i |y_i - root_i|^2.

    y_i goes from the origin through the problem's way points, each stretch in as many frames.

    Args:
        scale: multiplies the loss.

    References: Song et al. 2023 (LGD), Eq. 14.

    Differs from the paper: it does not say whether y has a height; here y and the root are points on the floor (x, z).
    """

    paper = "Song et al. 2023 (LGD), Eq. 14"
    reads = ("path",)
    kind: ClassVar[SampleKind] = "motion"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        paths = field(problems, "path", "loss=path_following")
        return lambda motions: self.scale * path_error(motions, paths)


class ObstacleAvoidance(Loss):
    """End at a point and keep away from an obstacle.

    L = scale (|y - root_last|^2 + sum_i weight * sigmoid(-sharpness (|root_i - obstacle|^2 - radius))), where y is the
    last way point; a problem without an obstacle pays the first term alone.

    Args:
        radius: of the obstacle; compared with squared metres, as the paper does.
        weight: price of a frame inside the obstacle.
        sharpness: of its border.
        scale: multiplies the loss.

    References: Song et al. 2023 (LGD), Eqs. 15 and 20.

    Differs from the paper: it does not say whether points have a height; here they are points on the floor (x, z).
    """

    paper = "Song et al. 2023 (LGD), Eqs. 15 and 20"
    reads = ("path",)
    kind: ClassVar[SampleKind] = "motion"

    def __init__(
        self, radius: float = 1.0, weight: float = 100.0, sharpness: float = 50.0, scale: float = 1.0
    ) -> None:
        self.radius, self.weight, self.sharpness, self.scale = radius, weight, sharpness, scale

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        paths = field(problems, "path", "loss=obstacle_avoidance")
        obstacles = [getattr(problem, "obstacle", None) for problem in problems]
        return lambda motions: (
            self.scale * obstacle_cost(motions, paths, obstacles, self.radius, self.weight, self.sharpness)
        )
