"""Distances between two images in the layers of a network, for LPIPS."""

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from guidebench.devices import exact_arithmetic
from guidebench.errors import ConfigError
from guidebench.models import torchvision_weights
from guidebench.models.readers.base import Reader
from guidebench.models.readers.classifiers import SmallClassifier

_BACKBONES = {
    "alex": ("alexnet", "IMAGENET1K_V1"),
    "vgg": ("vgg16", "IMAGENET1K_V1"),
    "squeeze": ("squeezenet1_1", "IMAGENET1K_V1"),
}


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
        if self.random_weights:
            return self.network_id
        return f"{self.network_id} {torchvision_weights.checkpoint(*_BACKBONES[self.net]).fingerprint()}"

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
    exact_arithmetic()
    try:
        import lpips
    except ImportError as error:
        raise ConfigError(
            f"metric=lpips with {distance.network_id} needs the package lpips: pip install 'guidebench[lpips]'"
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = lpips.LPIPS(net=distance.net, pnet_rand=True, verbose=False)
    if not distance.random_weights:
        _load_backbone(network.net, *_BACKBONES[distance.net])  # type: ignore[arg-type]
    return network.eval().requires_grad_(False)


def _load_backbone(backbone: nn.Module, architecture: str, pretrained: str) -> None:
    """Torchvision's weights of the layers that a backbone of `lpips` cuts into slices: `features.3` is `slice2.3`."""
    from torchvision import models

    checkpoint = torchvision_weights.checkpoint(architecture, pretrained)
    whole = checkpoint.build(functools.partial(models.get_model, architecture, weights=None), torch.float32)
    features = whole.state_dict()
    own = backbone.state_dict()
    backbone.load_state_dict({key: features[f"features.{key.partition('.')[2]}"] for key in own})
