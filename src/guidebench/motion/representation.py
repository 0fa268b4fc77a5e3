"""HumanML3D's description of a motion by 263 numbers a frame, and the positions that follow from it.

| features | meaning |
|---|---|
| 0 | turning of the root about the vertical axis, half an angle per frame |
| 1, 2 | velocity of the root along x and z, in the body's own frame, metres per frame |
| 3 | height of the root, metres |
| 4 … 66 | positions of the 21 other joints relative to the root's place on the floor, in the body's frame |
| 67 … 192 | rotations of these joints, 6 numbers each |
| 193 … 258 | velocities of all 22 joints |
| 259 … 262 | contact of the feet with the floor |

y points up; a motion begins at the origin, facing z.

References: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guidebench.errors import WeightsError

FEATURES = 263
JOINTS = 22
FRAMES_PER_SECOND = 20
MAX_FRAMES = 196


def recover_root(features: Tensor) -> tuple[Tensor, Tensor]:
    """Where the root is and where it faces: sums of the velocities, each of which acts on the next frame.

    a_t = sum_{k<t} w_k;  p_t = sum_{k<t} R(2 a_{k+1})^-1 (vx_k, 0, vz_k), with the height put in from the features.

    Args:
        features: (..., frames, >= 4), not normalised.

    Returns:
        Half the facing angle a, (..., frames), radians; and positions (..., frames, 3), metres. Differentiable.
    """
    turning, velocity, height = features[..., 0], features[..., 1:3], features[..., 3]
    half_angle = _lagged(turning, dim=-1).cumsum(-1)
    floor = _unturn(_lagged(velocity, dim=-2), half_angle).cumsum(-2)
    return half_angle, torch.stack([floor[..., 0], height, floor[..., 1]], dim=-1)


def recover_joints(features: Tensor) -> Tensor:
    """Positions of all joints, the root first: (..., frames, 22, 3), metres, of features (..., frames, 263)."""
    half_angle, root = recover_root(features)
    local = features[..., 4 : 4 + 3 * (JOINTS - 1)].unflatten(-1, (JOINTS - 1, 3))
    turned = _unturn(local[..., [0, 2]], half_angle[..., None])
    x, z = (turned[..., axis] + root[..., None, 2 * axis] for axis in (0, 1))
    return torch.cat([root[..., None, :], torch.stack([x, local[..., 1], z], dim=-1)], dim=-2)


def read_statistics(directory: Path, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the features, (263,) each, float32, from two numpy files.

    Raises:
        WeightsError: a file is missing, or does not hold 263 finite numbers.
    """
    read = []
    for name in names:
        path = directory / name
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} is missing or is no array: {error}") from error
        if values.shape != (FEATURES,) or not np.isfinite(values).all():
            raise WeightsError(
                f"{path} has the shape {values.shape}; HumanML3D's statistics are {FEATURES} finite numbers"
            )
        read.append(torch.from_numpy(values).float())
    return read[0], read[1]


def _lagged(values: Tensor, dim: int) -> Tensor:
    """Shifted by one frame; zero first."""
    first = torch.zeros_like(values.narrow(dim, 0, 1))
    return torch.cat([first, values.narrow(dim, 0, values.shape[dim] - 1)], dim=dim)


def _unturn(floor: Tensor, half_angle: Tensor) -> Tensor:
    """Vectors (x, z), (..., 2), from the body's frame to the world's: turned by minus twice `half_angle` (...)."""
    x, z = floor.unbind(-1)
    cos, sin = torch.cos(2 * half_angle), torch.sin(2 * half_angle)
    return torch.stack([x * cos - z * sin, x * sin + z * cos], dim=-1)
