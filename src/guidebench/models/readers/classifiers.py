"""Image classifiers, the embedded suite's and torchvision's: they guide, judge, and describe images."""

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from guidebench.devices import exact_arithmetic
from guidebench.errors import ConfigError, WeightsError
from guidebench.models import torchvision_weights
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.small_classifiers import SmallResNet, SmallVGG
from guidebench.models.readers.base import Reader
from guidebench.models.readers.features import FeatureNetwork
from guidebench.models.weights import digest, resolve
from guidebench.problems import Problem, field

_ARCHITECTURES: dict[str, type[SmallResNet] | type[SmallVGG]] = {"resnet": SmallResNet, "vgg": SmallVGG}


class Network(NamedTuple):
    """What one set of hyper-parameters loads."""

    module: nn.Module
    classes: tuple[str, ...]
    multilabel: bool
    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Classifier(Reader):
    """A frozen classifier.

    Images of another size than the network's are resized (shorter side, antialiased bilinear) and cropped at the
    centre.

    Cost: one forward of the network per image.
    """

    @abstractmethod
    def _load(self) -> Network:
        """The network on some device, frozen and in evaluation mode; the same one at every call."""

    def load(self, device: torch.device | str) -> None:
        self._load().module.to(device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._load().classes

    def logits(self, images: Tensor) -> Tensor:
        """Logits (b, k); differentiable with respect to the images.

        Args:
            images: (b, 3, H, W) in [0, 1], any floating-point type and device; the network follows.

        Raises:
            WeightsError: the weights are missing, damaged, or do not fit the architecture.
        """
        return self._load().module(self._prepared(images))

    def log_probabilities(self, images: Tensor) -> Tensor:
        """log p(class | image), (b, k); differentiable with respect to the images.

        Raises:
            ConfigError: the classes do not exclude each other.
            WeightsError: as for `logits`.
        """
        if self._load().multilabel:
            raise ConfigError(
                f"{self.network_id} reads attributes that do not exclude each other, so it has no probabilities of "
                "classes; choose a classifier with one class per image"
            )
        return self.logits(images).log_softmax(dim=1)

    def labels(self, problems: Sequence[Problem], device: torch.device | str = "cpu") -> Tensor:
        """Indices of the problems' classes among the logits, (b,).

        Raises:
            ConfigError: the dataset and the classifier do not number their classes alike.
        """
        classes = self.classes
        labels = field(problems, "label", self.network_id)
        for label, name in zip(labels, field(problems, "name", self.network_id), strict=True):
            found = classes[label] if 0 <= label < len(classes) else "none"
            if found != name:
                raise ConfigError(
                    f"{self.network_id}: class {label} is {found!r}, and the dataset's is {name!r}; choose a "
                    "classifier of the dataset's classes"
                )
        return torch.tensor(labels, device=device)

    def _prepared(self, images: Tensor) -> Tensor:
        network = self._load()
        network.module.to(images.device)
        if images.shape[-2:] != (network.crop, network.crop):
            from torchvision.transforms.v2 import functional as transforms

            images = transforms.resize(images, [network.resize], antialias=True)
            images = transforms.center_crop(images, [network.crop, network.crop])
        mean, std = (
            torch.tensor(v, dtype=images.dtype, device=images.device) for v in (network.mean, network.std)
        )
        return ((images - mean[:, None, None]) / std[:, None, None]).float()


@dataclass(frozen=True)
class SmallClassifier(Classifier, FeatureNetwork):
    """A classifier of the embedded suite; its layers also serve as features.

    Args:
        directory: `config.json` (architecture, widths, classes, mean, std, image_size, multilabel) and
            `model.safetensors`; absolute, or relative to the package's weights.
        random_weights: build the architecture with random weights (seed 0).
    """

    directory: str
    random_weights: bool = False

    paper: ClassVar[str] = "the embedded suite"

    @property
    def network_id(self) -> str:
        return f"classifier:{self.directory}" + (" (random weights)" if self.random_weights else "")

    def fingerprint(self) -> str:
        return self.network_id if self.random_weights else digest(resolve(self.directory))

    def pooled(self, images: Tensor) -> Tensor:
        """Spatial mean of the last layer, (b, d), what the head sees; arguments as for `logits`."""
        return self._load().module.pooled(self._prepared(images))  # type: ignore[operator]

    def layers(self, images: Tensor) -> list[Tensor]:
        """Output of every stage, (b, c, h, w) each; arguments as for `logits`."""
        return self._load().module.features(self._prepared(images))  # type: ignore[operator]

    def _load(self) -> Network:
        return _load_small(self)


@dataclass(frozen=True)
class TorchvisionClassifier(Classifier):
    """A classifier of ImageNet from torchvision.

    Args:
        architecture: torchvision's name, such as `resnet50` or `vgg16`.
        pretrained: torchvision's name of the weights, such as `IMAGENET1K_V2`; downloaded on first use. They also
            bring classes, size and pixel statistics.
        random_weights: build the architecture with random weights and download nothing.
    """

    architecture: str
    pretrained: str
    random_weights: bool = False

    paper: ClassVar[str] = "LGD, Tab. 1"

    @property
    def network_id(self) -> str:
        name = f"classifier:{self.architecture}/{self.pretrained}"
        return name + (" (random weights)" if self.random_weights else "")

    def fingerprint(self) -> str:
        if self.random_weights:
            return self.network_id
        return torchvision_weights.checkpoint(self.architecture, self.pretrained).fingerprint()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(torchvision_weights.published(self.architecture, self.pretrained).meta["categories"])

    def _load(self) -> Network:
        return _load_torchvision(self)


@functools.lru_cache(maxsize=4)
def _load_small(classifier: SmallClassifier) -> Network:
    config = Checkpoint(classifier.directory).arguments()
    try:
        architecture = _ARCHITECTURES[config["architecture"]]
        classes, size = tuple(config["classes"]), config["image_size"]
        mean, std = tuple(config["mean"]), tuple(config["std"])
        multilabel, widths = config["multilabel"], config["widths"]
    except KeyError as error:
        raise WeightsError(
            f"{classifier.directory}/config.json: {error} is missing or unknown; needed are architecture "
            f"({', '.join(_ARCHITECTURES)}), widths, classes, mean, std, image_size and multilabel"
        ) from error
    arguments = {"widths": widths, "n_classes": len(classes)}
    checkpoint = Checkpoint(classifier.directory, arguments, random_weights=classifier.random_weights)
    module = checkpoint.build(architecture, torch.float32)
    return Network(module, classes, multilabel, size, size, mean, std)


@functools.lru_cache(maxsize=4)
def _load_torchvision(classifier: TorchvisionClassifier) -> Network:
    from torchvision import models

    exact_arithmetic()
    weights = torchvision_weights.published(classifier.architecture, classifier.pretrained)
    architecture = functools.partial(models.get_model, classifier.architecture, weights=None)
    if classifier.random_weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(
                int.from_bytes(hashlib.sha256(classifier.network_id.encode()).digest()[:4], "little")
            )
            module = architecture().eval().requires_grad_(False)
    else:
        checkpoint = torchvision_weights.checkpoint(classifier.architecture, classifier.pretrained)
        module = checkpoint.build(architecture, torch.float32)
        if hasattr(module, "transform_input"):  # Inception's and GoogLeNet's weights expect other statistics
            module.transform_input = True  # type: ignore[assignment]
    preset = weights.transforms()
    return Network(
        module,
        classifier.classes,
        False,
        preset.resize_size[0],
        preset.crop_size[0],
        tuple(preset.mean),
        tuple(preset.std),
    )
