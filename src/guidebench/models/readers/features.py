"""Networks whose features describe an image, for FID and KID."""

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.fid_inception import FIDInception
from guidebench.models.readers.base import Reader


class FeatureNetwork(Reader):
    """A network that maps an image to a vector."""

    @abstractmethod
    def pooled(self, images: Tensor) -> Tensor:
        """Features (b, d) of images (b, 3, H, W) in [0, 1]."""


@dataclass(frozen=True)
class InceptionV3(FeatureNetwork):
    """The Inception-v3 of FID: 2048 features before the classifier.

    Images are resized to 299 x 299 (bilinear, without antialiasing).

    Args:
        source: the converted weights, a file or an address, see `Checkpoint`.
        sha256: of the downloaded file, or how it begins.
        random_weights: build the architecture with random weights (seed 0) and download nothing.

    Cost: one forward per image, 11 GFLOP.

    References:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
        NeurIPS 2017; Seitzer, pytorch-fid, for the conversion of the weights.

    Differs from the paper: TensorFlow 1 resized with another grid; pytorch-fid and this agree with each other.
    """

    source: str = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
    sha256: str | None = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    random_weights: bool = False

    paper: ClassVar[str] = "Heusel et al. 2017"

    @property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.source, {}, self.sha256, self.random_weights)

    @property
    def network_id(self) -> str:
        return "inception_v3:fid 2015-12-05" + (" (random weights)" if self.random_weights else "")

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def load(self, device: torch.device | str) -> None:
        _load(self).to(device)

    def pooled(self, images: Tensor) -> Tensor:
        """Features (b, 2048) of images (b, 3, H, W) in [0, 1]; differentiable.

        Raises:
            WeightsError: the weights are missing or damaged, or do not fit.
        """
        network = _load(self).to(images.device)
        return network(2 * interpolate(images.float(), (299, 299), mode="bilinear") - 1)


@functools.lru_cache(maxsize=1)
def _load(inception: InceptionV3) -> nn.Module:
    return inception._checkpoint.build(FIDInception, torch.float32, ignore=("fc.",))
