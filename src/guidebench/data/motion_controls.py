"""People to move: prompts, each in several directions, with or without something in the way."""

import math
from collections.abc import Mapping, Sequence

from guidebench.data.case_ids import case_id
from guidebench.errors import DataError
from guidebench.problems import MotionControl


class MotionControls:
    """Straight paths from the origin, and an obstacle on the way if asked for.

    Args:
        prompts: text by the case's name.
        reach: how far the path of each case goes along z, metres; below 0 it goes backwards.
        directions: of the paths, degrees from the z axis towards the x axis.
        obstacle_at: where on the path the obstacle is, as a share of its length; null for no obstacle.
        obstacle_aside: how far beside the path, metres, towards x for a path along z; straight on the path, one way
            around would be as good as the other.

    References: LGD (Song et al. 2023), Tab. 2 and 3.

    Differs from the paper: it states neither coordinates nor the prompts' full text.
    """

    paper = "after LGD, Tab. 2 and 3"
    gives = ("prompt", "path", "obstacle", "category")

    def __init__(
        self,
        prompts: Mapping[str, str],
        reach: Mapping[str, float],
        directions: Sequence[float] = (-30.0, 0.0, 30.0),
        obstacle_at: float | None = None,
        obstacle_aside: float = 0.0,
    ) -> None:
        if not prompts or set(prompts) != set(reach) or not directions or 0.0 in reach.values():
            raise DataError(
                f"dataset: prompts for {sorted(prompts)}, reach for {sorted(reach)}, {len(directions)} directions; "
                "give both for the same cases, a reach other than 0, and at least one direction."
            )
        self.prompts, self.reach, self.directions = dict(prompts), dict(reach), list(directions)
        self.obstacle_at, self.obstacle_aside = obstacle_at, obstacle_aside

    def problems(self, seeds: Sequence[int]) -> list[MotionControl]:
        """Every prompt in every direction with every seed, prompts outermost."""
        return [
            MotionControl(
                f"{case_id(name)}-{i}", seed, prompt, (end,), self._obstacle(end), name.replace("-", " ")
            )
            for name, prompt in self.prompts.items()
            for i, end in enumerate(self._ends(self.reach[name]))
            for seed in seeds
        ]

    def _ends(self, reach: float) -> list[tuple[float, float]]:
        angles = [math.radians(direction) for direction in self.directions]
        return [(reach * math.sin(angle), reach * math.cos(angle)) for angle in angles]

    def _obstacle(self, end: tuple[float, float]) -> tuple[float, float] | None:
        if self.obstacle_at is None:
            return None
        (x, z), length = end, math.hypot(*end)
        aside = self.obstacle_aside / length
        return x * self.obstacle_at + z * aside, z * self.obstacle_at - x * aside
