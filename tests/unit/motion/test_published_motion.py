"""One motion of HumanML3D: joints recovered from its features are the published joints."""

from pathlib import Path

import numpy as np
import torch

from guidebench.motion.representation import FEATURES, JOINTS, read_statistics, recover_joints


def test_recovered_joints_are_the_published_ones(real_data: Path) -> None:
    features = torch.from_numpy(np.load(real_data / "humanml3d/new_joint_vecs/012314.npy")).double()
    joints = np.load(real_data / "humanml3d/new_joints/012314.npy")
    assert features.shape == (170, FEATURES) and joints.shape == (170, JOINTS, 3)
    np.testing.assert_allclose(recover_joints(features).numpy(), joints, atol=3e-7)


def test_published_statistics_belong_to_such_features(real_data: Path) -> None:
    features = torch.from_numpy(np.load(real_data / "humanml3d/new_joint_vecs/012314.npy"))
    for names in (("Mean.npy", "Std.npy"), ("t2m_mean.npy", "t2m_std.npy")):
        mean, std = read_statistics(real_data / "humanml3d", names)
        assert mean.shape == std.shape == (FEATURES,) and mean.dtype == torch.float32 and (std > 0).all()
        assert abs(mean[3] - features[:, 3].mean()) < 0.3  # height of the root, metres
        assert ((features - mean) / std).abs().median() < 2
