"""Reads from a rendered face the numbers that make the person."""

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.small_classifiers import SmallResNet
from guidebench.models.readers.base import Reader


class TraitRegressor(Reader):
    """A small network that was trained to say a rendered person's numbers, whatever the pose, the light, the smile.

    Args:
        source: directory of the weights, see `Checkpoint`; its config.json has `architecture`.
        random_weights: build `architecture` with random weights (seed 0).
        n_traits: how many numbers, where the weights are random.
    """

    def __init__(self, source: str, random_weights: bool = False, n_traits: int = 20) -> None:
        architecture = {"widths": [4, 6], "n_classes": n_traits} if random_weights else None
        self._checkpoint = Checkpoint(
            source, architecture, random_weights=random_weights, within="architecture"
        )

    @property
    def network_id(self) -> str:
        random = " (random weights)" if self._checkpoint.random_weights else ""
        return f"traits:{self._checkpoint.source}{random}"

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def load(self, device: torch.device | str) -> None:
        self._network.to(device)

    def traits(self, images: Tensor) -> Tensor:
        """The numbers, about [-1, 1], (b, n), of images (b, 3, H, W) in [0, 1]; others than 64 x 64 are resized."""
        if images.shape[-2:] != (64, 64):
            images = interpolate(images.float(), (64, 64), mode="bilinear", antialias=True)
        return self._network.to(images.device)(2.0 * images.float() - 1.0)

    @cached_property
    def _network(self) -> nn.Module:
        return self._checkpoint.build(SmallResNet, torch.float32)
