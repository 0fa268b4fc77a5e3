"""What guidance will show a network: crops, blur, noise."""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, min_crop: float, generator: torch.Generator) -> Tensor:
    """Random crops resized back, small noise, and a blur for some.

    Args:
        images: (b, 3, H, W).
        min_crop: smallest side of a crop, as a fraction.
        generator: source of randomness.
    """
    count = len(images)
    draw = torch.rand(count, 5, generator=generator).to(images.device)
    scale = torch.where(draw[:, 0] < 0.6, min_crop + (1.0 - min_crop) * draw[:, 1], torch.ones(1).to(images))
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = (2.0 * draw[:, 2:4] - 1.0) * (1.0 - scale)[:, None]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = torch.where((draw[:, 4] < 0.3)[:, None, None, None], blurred, images)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return images + 0.1 * torch.rand(count, 1, 1, 1, generator=generator).to(images) * noise
