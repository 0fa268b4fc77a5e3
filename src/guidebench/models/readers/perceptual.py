"""Distances between two images in the layers of a network, for LPIPS."""

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from guidebench.errors import ConfigError
from guidebench.models.readers.base import Reader
from guidebench.models.readers.classifiers import SmallClassifier


class PerceptualDistance(Reader):
    """A distance between images that one network sees.

    Subclasses declare:
        weighing: how the layers are weighed, in words.
    """

    weighing: ClassVar[str]

    @abstractmethod
    def __call__(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (b,) of images (b, 3, H, W) in [0, 1]; differentiable."""


@dataclass(frozen=True)
class LayerDistance(PerceptualDistance):
    """d(x, y) = sum over layers of the mean over positions of |f(x) / |f(x)| - f(y) / |f(y)||^2.

    The formula of LPIPS without trained weights of the channels, which exist for the published networks only.

    Args:
        network: whose layers are compared.

    References: Zhang et al., CVPR 2018, Eq. 1 with w = 1.
    """

    network: SmallClassifier

    weighing: ClassVar[str] = (
        "LPIPS formula, all channels weigh the same (not comparable with published LPIPS)"
    )

    @property
    def network_id(self) -> str:
        return self.network.network_id

    def fingerprint(self) -> str:
        return self.network.fingerprint()

    def load(self, device: torch.device | str) -> None:
        self.network.load(device)

    def __call__(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (b,)."""
        pairs = zip(self.network.layers(images), self.network.layers(others), strict=True)
        return torch.stack([(_unit(f) - _unit(g)).square().sum(1).mean((1, 2)) for f, g in pairs]).sum(0)


@dataclass(frozen=True)
class PretrainedLPIPS(PerceptualDistance):
    """The published LPIPS, version 0.1, through the package `lpips`.

    Args:
        net: backbone: "alex", "vgg" or "squeeze"; torchvision's weights are downloaded on first use.
        random_weights: a backbone with random weights and no download; the channels' weights come with the package.

    References: Zhang et al., CVPR 2018.
    """

    net: Literal["alex", "vgg", "squeeze"] = "alex"
    random_weights: bool = False

    weighing: ClassVar[str] = "LPIPS 0.1, trained linear weights"

    @property
    def network_id(self) -> str:
        return f"lpips:{self.net}" + (" (random weights)" if self.random_weights else "")

    def fingerprint(self) -> str:
        return self.network_id

    def load(self, device: torch.device | str) -> None:
        _load(self).to(device)

    def __call__(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (b,)."""
        network = _load(self).to(images.device)
        return network(images, others, normalize=True).flatten()


def _unit(features: Tensor) -> Tensor:
    """Features (b, c, h, w) of length 1 at every position."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


@functools.lru_cache(maxsize=1)
def _load(distance: PretrainedLPIPS) -> nn.Module:
    try:
        import lpips
    except ImportError as error:
        raise ConfigError(
            f"metric=lpips with {distance.network_id} needs the package lpips: pip install 'guidebench[lpips]'"
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = lpips.LPIPS(net=distance.net, pnet_rand=distance.random_weights, verbose=False)
    return network.eval().requires_grad_(False)
