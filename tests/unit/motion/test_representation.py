"""Against quaternions of scipy, closed forms and numerical derivatives."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from guidebench.motion.representation import FEATURES, JOINTS, recover_joints, recover_root


def features(frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(frames, FEATURES, generator=generator, dtype=torch.float64)


def test_without_turning_a_constant_velocity_gives_a_straight_line_one_frame_late() -> None:
    still = torch.zeros(5, 4, dtype=torch.float64)
    still[:, 1], still[:, 2], still[:, 3] = 0.1, -0.2, 0.9
    half_angle, root = recover_root(still)
    steps = torch.arange(5, dtype=torch.float64)
    torch.testing.assert_close(root, torch.stack([0.1 * steps, 0.9 * torch.ones(5), -0.2 * steps], dim=-1))
    assert not half_angle.any()


def test_the_last_velocity_moves_nothing_and_the_others_do() -> None:
    changed = features(6)
    changed[-1, :3] += 10
    for a, b in zip(recover_root(features(6)), recover_root(changed), strict=True):
        assert torch.equal(a, b)
    changed[-2, :3] += 10
    assert not torch.allclose(recover_root(features(6))[1], recover_root(changed)[1])


def test_positions_equal_those_of_quaternions() -> None:
    data = features(7)
    half_angle, root = recover_root(data)
    joints = recover_joints(data)
    assert joints.shape == (7, JOINTS, 3)
    place = np.zeros(3)
    for frame in range(7):
        angle = float(data[:frame, 0].sum())
        back = Rotation.from_quat([0.0, np.sin(angle), 0.0, np.cos(angle)]).inv()  # x, y, z, w
        if frame:
            place = place + back.apply([float(data[frame - 1, 1]), 0.0, float(data[frame - 1, 2])])
        expected = np.array([place[0], float(data[frame, 3]), place[2]])
        np.testing.assert_allclose(root[frame].numpy(), expected, atol=1e-12)
        local = data[frame, 4:67].reshape(21, 3).numpy()
        body = back.apply(local) + np.array([place[0], 0.0, place[2]])
        np.testing.assert_allclose(joints[frame].numpy(), np.vstack([expected, body]), atol=1e-12)
        assert float(half_angle[frame]) == pytest.approx(angle)


def test_batches_are_rows() -> None:
    rows = torch.stack([features(4, seed) for seed in range(3)])
    torch.testing.assert_close(recover_joints(rows), torch.stack([recover_joints(row) for row in rows]))


def test_gradients_equal_numerical_ones() -> None:
    data = features(4)[:, :10].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: recover_root(x)[1], data)
    whole = features(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: recover_joints(x).square().sum((-1, -2)), whole, fast_mode=True)


def test_an_end_point_reaches_every_frame_but_the_last() -> None:
    data = features(6).requires_grad_()
    recover_root(data)[1][-1, [0, 2]].square().sum().backward()
    assert data.grad is not None
    reached = data.grad[:, :3].abs().amax(1) > 0
    assert reached.tolist() == [True] * 5 + [False]
