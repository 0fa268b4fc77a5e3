"""Random square cutouts: the multi-crop augmentation in front of a CLIP loss."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


def cutout_sizes(draws: Tensor, side: int, cut_size: int, cut_power: float) -> Tensor:
    """Side lengths of cutouts: floor(r^cut_power (S - c) + c), with S the image's side and c the cut size.

    Args:
        draws: r, uniform on [0, 1), any shape.
        side: S, pixels.
        cut_size: c, pixels; above S it counts as S.
        cut_power: above 0; small values favour large cutouts (0.3: on average 445 of 512 for c = 224).

    Returns:
        Integers in [min(c, S), S], shaped like `draws`.
    """
    smallest = min(cut_size, side)
    return (draws**cut_power * (side - smallest) + smallest).long()


def make_cutouts(
    images: Tensor, cut_size: int, n_cuts: int, cut_power: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """Cuts random squares out of each image and pools them to one size.

    The side follows `cutout_sizes` with S the image's shorter side, the offset is uniform over the positions
    that fit, and adaptive average pooling brings each cutout to c x c. No flips. Differentiable.

    Args:
        images: (b, 3, H, W).
        cut_size: c, the side of the results, pixels.
        n_cuts: n, cutouts per image, at least 1.
        cut_power: see `cutout_sizes`.
        generators: b CPU generators, one per image: row i depends on image i and generator i alone.

    Returns:
        Cutouts (b, n, 3, c, c).

    References:
        DOODL, App. C and the official code's `MakeCutouts`.

    Differs from the paper: the official code draws all cutouts of a batch from the global CPU generator.
    """
    height, width = images.shape[-2:]
    rows = []
    for image, generator in zip(images, generators, strict=True):
        draws = torch.rand(n_cuts, 3, generator=generator, dtype=torch.float64)
        sizes = cutout_sizes(draws[:, 0], min(height, width), cut_size, cut_power)
        tops = (draws[:, 1] * (height - sizes + 1)).long()
        lefts = (draws[:, 2] * (width - sizes + 1)).long()
        corners = zip(sizes.tolist(), tops.tolist(), lefts.tolist(), strict=True)
        cuts = [adaptive_avg_pool2d(image[:, y : y + s, x : x + s], cut_size) for s, y, x in corners]
        rows.append(torch.stack(cuts))
    return torch.stack(rows)
