import math

import pytest

from guidebench.data.motion_controls import MotionControls
from guidebench.errors import DataError

PROMPTS, REACH = {"walking": "a person walks", "back": "a person walks back"}, {"walking": 4.0, "back": -2.0}


def test_every_prompt_in_every_direction_with_every_seed() -> None:
    found = MotionControls(PROMPTS, REACH, [0.0, 90.0]).problems([3, 4])
    assert [(p.case_id, p.seed) for p in found[:5]] == [
        ("walking-0", 3),
        ("walking-0", 4),
        ("walking-1", 3),
        ("walking-1", 4),
        ("back-0", 3),
    ]
    assert found[0].path == ((0.0, 4.0),) and found[0].obstacle is None
    assert found[2].path[0] == pytest.approx((4.0, 0.0)) and found[6].path[0] == pytest.approx((-2.0, 0.0))
    assert found[4].prompt == "a person walks back" and found[4].path == ((0.0, -2.0),)


def test_the_obstacle_lies_on_the_way_and_aside() -> None:
    (ahead, askew) = MotionControls({"w": "x"}, {"w": 4.0}, [0.0, 30.0], 0.25, 0.5).problems([0])
    assert ahead.obstacle == pytest.approx((0.5, 1.0))
    x, z = askew.path[0]
    assert askew.obstacle is not None
    from_path = (askew.obstacle[0] - x / 4, askew.obstacle[1] - z / 4)
    assert math.hypot(*from_path) == pytest.approx(0.5)
    assert from_path[0] * x + from_path[1] * z == pytest.approx(0.0)
    (behind,) = MotionControls({"w": "x"}, {"w": -4.0}, [0.0], 0.25, 0.5).problems([0])
    assert behind.obstacle == pytest.approx((-0.5, -1.0))


@pytest.mark.parametrize(
    ("prompts", "reach", "directions"),
    [
        ({}, {}, [0.0]),
        (PROMPTS, {"walking": 1.0}, [0.0]),
        (PROMPTS, REACH, []),
        ({"a": "b"}, {"a": 0.0}, [0.0]),
    ],
)
def test_cases_that_do_not_fit_are_refused(prompts: dict, reach: dict, directions: list) -> None:
    with pytest.raises(DataError, match="the same cases"):
        MotionControls(prompts, reach, directions)
