import pytest
import torch

from guidebench.metrics.motion import MotionSurprise, ObstacleObjective, PathObjective
from guidebench.models.motion_prior import MotionPrior
from guidebench.motion.objectives import along
from guidebench.problems import MotionControl

WALK = "a person walks"


def test_objectives_are_losses_per_frame() -> None:
    control = MotionControl("a", 0, WALK, ((0.0, 4.0),), (5.0, 5.0))
    motion = torch.zeros(1, 10, 3)
    motion[0, :, [0, 2]] = along(control.path, 10).float()
    assert float(PathObjective().evaluate(motion, [control])) == 0.0
    motion[..., 0] += 2.0
    assert float(PathObjective().evaluate(motion, [control])) == pytest.approx(4.0)
    assert float(ObstacleObjective().evaluate(motion, [control])) == pytest.approx(4.0 / 10)
    blocked = MotionControl(
        "a", 0, WALK, ((0.0, 4.0),), (2.0, 4.0)
    )  # the last three frames are within a metre
    assert float(ObstacleObjective().evaluate(motion, [blocked])) == pytest.approx(30.4, rel=1e-2)


def test_surprise_knows_the_prompt_and_smoothness() -> None:
    prior = MotionPrior(20)
    prior.load("cpu")
    smooth = prior.decode(torch.zeros(1, 20, 2) + prior.encode(_straight(1.1))[0])
    rough = smooth + 0.05 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    metric = MotionSurprise()
    values = {
        (name, prompt): float(metric.evaluate(motion, [MotionControl("a", 0, prompt, ((0.0, 1.0),))]))
        for name, motion in (("smooth", smooth), ("rough", rough))
        for prompt in (WALK, "a person walks backwards")
    }
    assert values["smooth", WALK] < values["smooth", "a person walks backwards"]
    assert values["smooth", WALK] < values["rough", WALK]


def _straight(speed: float) -> torch.Tensor:
    motion = torch.zeros(1, 20, 3)
    motion[0, :, 2] = speed * torch.arange(1, 21) / 20
    return motion
