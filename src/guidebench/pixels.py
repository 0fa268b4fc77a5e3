"""Images as 8-bit arrays, which files and judges hold, and as tensors, which networks see."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Images (b, 3, H, W), clamped to [0, 1], rounded to uint8 (b, H, W, 3)."""
    levels = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def to_tensor(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], device: torch.device | str = "cpu"
) -> Tensor:
    """Images uint8 (H, W, 3), all of one size, or (b, H, W, 3), as float32 (b, 3, H, W) in [0, 1]."""
    stacked = torch.from_numpy(np.array(images)).to(device)
    return stacked.permute(0, 3, 1, 2).contiguous().float() / 255
