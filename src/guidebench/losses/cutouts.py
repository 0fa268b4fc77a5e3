"""Random square cutouts: the multi-crop augmentation in front of a CLIP loss."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from guidebench.errors import ConfigError

_log = logging.getLogger(__name__)


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


class Crops:
    """What a loss shows its CLIP of each image: random cutouts, or the whole image.

    Args:
        n_crops: cutouts per image; 0 shows the whole image.
        cut_power: see `cutout_sizes`; above 0.
        loss: name of the loss, for messages.
    """

    def __init__(self, n_crops: int, cut_power: float, loss: str) -> None:
        if n_crops < 0:
            raise ConfigError(f"loss.n_crops={n_crops}; allowed: 0 (the whole image) or more.")
        if cut_power <= 0:
            raise ConfigError(f"loss.cut_power={cut_power}; allowed: above 0.")
        self.n_crops, self.cut_power = n_crops, cut_power
        self._loss, self._warned = loss, False

    def __call__(self, images: Tensor, cut_size: int, generators: Sequence[torch.Generator]) -> Tensor:
        """(b, n, 3, h, w) of images (b, 3, H, W); the whole image once where there is nothing to crop."""
        if self.n_crops == 0:
            return images[:, None]
        side = min(images.shape[-2:])
        if side <= cut_size:
            if not self._warned:
                _log.warning(
                    "loss=%s: n_crops=%d has no effect, images of side %d leave nothing to crop for a CLIP of size "
                    "%d; the whole image is used once.",
                    self._loss,
                    self.n_crops,
                    side,
                    cut_size,
                )
                self._warned = True
            return images[:, None]
        return make_cutouts(images, cut_size, self.n_crops, self.cut_power, generators)
