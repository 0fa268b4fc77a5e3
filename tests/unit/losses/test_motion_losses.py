"""Against the numbers of LGD's Eq. 20 and plain loops."""

import math

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.losses.motion import ObstacleAvoidance, PathFollowing
from guidebench.motion.objectives import along, penalty
from guidebench.problems import MotionControl, Problem, TextToImage

CONTROLS = [
    MotionControl("a", 0, "walk", ((1.0, 2.0),), (0.5, 1.0)),
    MotionControl("b", 0, "walk", ((0.0, 3.0), (3.0, 3.0)), None),
    MotionControl("c", 1, "walk", ((-2.0, 0.0),), (-1.0, 0.1)),
]


def motions(frames: int = 7, joints: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, frames, 3 * joints, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("distance", "value"), [(0, 100), (0.9, 99.9925), (1, 50), (1.05, 0.5911), (1.1, 2.7536e-3), (2, 0)]
)
def test_the_obstacles_price(distance: float, value: float) -> None:
    got = float(penalty(torch.tensor(distance, dtype=torch.float64) ** 2, 1.0, 100.0, 50.0))
    assert got == pytest.approx(value, rel=1e-4, abs=1e-12)


def test_the_price_is_flat_inside_and_steep_at_the_border() -> None:
    for distance, slope in ((0.0, 0.0), (1.0, -2500.0)):
        d = torch.tensor(distance, requires_grad=True)  # single precision
        (gradient,) = torch.autograd.grad(penalty(d**2, 1.0, 100.0, 50.0), d)
        assert float(gradient) == pytest.approx(slope, rel=1e-5)
    inside = torch.tensor([0.1, 0.1], requires_grad=True)
    (gradient,) = torch.autograd.grad(penalty(inside.square().sum(), 1.0, 100.0, 50.0), inside)
    assert not gradient.any()  # why a deterministic estimate stalls there


def test_a_path_takes_equal_times_for_its_stretches() -> None:
    path = along(((0.0, 2.0), (4.0, 2.0)), 9)
    assert path[0].tolist() == [0, 0] and path[4].tolist() == [0, 2] and path[8].tolist() == [4, 2]
    torch.testing.assert_close(path[6], torch.tensor([2.0, 2.0], dtype=torch.float64))
    straight = along(((3.0, 6.0),), 4)
    torch.testing.assert_close(straight, torch.arange(4.0)[:, None].double() * torch.tensor([[1.0, 2.0]]))


def test_path_following_is_the_sum_of_squares() -> None:
    x = motions()
    got = PathFollowing(scale=2.0).bind(CONTROLS, RandomStreams(CONTROLS))(x)
    for row, control in enumerate(CONTROLS):
        path = along(control.path, 7)
        expected = sum(
            float((x[row, i, 0] - path[i, 0]) ** 2 + (x[row, i, 2] - path[i, 1]) ** 2) for i in range(7)
        )
        assert float(got[row]) == pytest.approx(2 * expected)


def test_obstacle_avoidance_is_the_end_and_the_price_of_each_frame() -> None:
    x = motions()
    got = ObstacleAvoidance().bind(CONTROLS, RandomStreams(CONTROLS))(x)
    for row, control in enumerate(CONTROLS):
        end = control.path[-1]
        expected = float((x[row, -1, 0] - end[0]) ** 2 + (x[row, -1, 2] - end[1]) ** 2)
        for frame in x[row] if control.obstacle else ():
            squared = float((frame[0] - control.obstacle[0]) ** 2 + (frame[2] - control.obstacle[1]) ** 2)
            expected += 100 / (1 + math.exp(min(50 * (squared - 1.0), 700)))
        assert float(got[row]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [PathFollowing(), ObstacleAvoidance()])
def test_gradients_are_finite_and_touch_the_root_on_the_floor_alone(loss: PathFollowing) -> None:
    x = motions().requires_grad_()
    objective = loss.bind(CONTROLS, RandomStreams(CONTROLS))
    (gradient,) = torch.autograd.grad(objective(x).sum(), x)
    assert gradient.isfinite().all() and gradient[..., [0, 2]].any() and not gradient[..., [1, 3, 4, 5]].any()
    assert torch.autograd.gradcheck(objective, motions(frames=3).requires_grad_())


@pytest.mark.parametrize("loss", [PathFollowing(), ObstacleAvoidance()])
def test_other_problems_are_refused(loss: PathFollowing) -> None:
    others: list[Problem] = [TextToImage("a", 0, "a cat", "x")]
    with pytest.raises(ConfigError, match=r"loss=\w+ reads the field 'path'"):
        loss.bind(others, RandomStreams(others))


def test_a_problems_record_is_of_scalars() -> None:
    record = CONTROLS[0].record()
    assert record["path"] == "((1.0, 2.0),)" and record["obstacle"] == "(0.5, 1.0)"
    assert all(isinstance(value, str | int) for value in record.values())
