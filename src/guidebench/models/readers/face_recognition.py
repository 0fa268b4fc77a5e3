"""Face recognisers: embeddings of aligned faces, whose cosine says whether two pictures show one person."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from guidebench.errors import ConfigError, WeightsError
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.adaface_ir import AdaFaceIR
from guidebench.models.networks.iresnet import IResNet
from guidebench.models.readers.base import Reader
from guidebench.models.weights import digest, resolve

_NETWORKS: dict[str, type[nn.Module]] = {"iresnet": IResNet, "adaface_ir": AdaFaceIR}
_CHANNELS = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}


class FaceRecogniser(Reader):
    """A frozen recogniser. Pictures are aligned beforehand; another size than the network's is resized, not cropped.

    Cost: one forward of the network per image.
    """

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Embeddings of unit length, (b, d), float32.

        Args:
            images: (b, 3, H, W) in [0, 1], red first; the network follows their device.
        """

    def similarity(self, images: Tensor, others: Tensor) -> Tensor:
        """Cosines (b,) of the embeddings of two batches, row by row; arguments as for `embed`."""
        return (self.embed(images) * self.embed(others)).sum(1)


class TorchRecogniser(FaceRecogniser):
    """A recogniser in the layout of insightface's `arcface_torch` or of AdaFace; differentiable in the images.

    Pixels reach the network as 2x - 1. The resize is bilinear.

    Args:
        source: directory, file or address of the weights, see `Checkpoint`.
        network: `iresnet` (ArcFace, CosFace, ElasticFace) or `adaface_ir`; null where `source` is a directory with
            `network` in its config.json.
        channels: order that the network was trained with, `rgb` or `bgr`; null where the directory says it. A wrong
            one gives no error, only worse similarities.
        architecture: arguments of the network; null where the directory's config.json has them.
        prefix: of the network's keys in the file.
        sha256: of a downloaded file; null trusts the address.
        random_weights: build the architecture with random weights (seed 0).
        antialias: smooth before the resize to a smaller size, as image libraries do. False is torch's plain bilinear.

    References: Deng et al., "ArcFace", CVPR 2019; Wang et al., "CosFace", CVPR 2018; Boutros et al., "ElasticFace",
        CVPRW 2022; Kim et al., "AdaFace", CVPR 2022.
    """

    paper = "AdjointDEIS, Sec. 5 and App. H"

    def __init__(
        self,
        source: str,
        network: Literal["iresnet", "adaface_ir"] | None = None,
        channels: Literal["rgb", "bgr"] | None = None,
        architecture: Mapping[str, Any] | None = None,
        prefix: str = "",
        sha256: str | None = None,
        random_weights: bool = False,
        antialias: bool = False,
    ) -> None:
        self._checkpoint = Checkpoint(
            source, architecture, sha256, random_weights, within="architecture", prefix=prefix
        )
        self._network, self._channels, self._antialias = network, channels, antialias

    @property
    def network_id(self) -> str:
        random = " (random weights)" if self._checkpoint.random_weights else ""
        return f"recogniser:{self._checkpoint.source}{random}"

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def load(self, device: torch.device | str) -> None:
        self._loaded[0].to(device)

    @property
    def image_size(self) -> int:
        """Side of the pictures that the network reads, pixels; reads no weights."""
        return int(self._checkpoint.arguments()["image_size"])

    def embed(self, images: Tensor) -> Tensor:
        return normalize(self.features(images), dim=1)

    def features(self, images: Tensor) -> Tensor:
        """Embeddings before they are normalised, (b, d); of AdaFace, their length tells the picture's quality."""
        module, order = self._loaded
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = interpolate(images.float(), size, mode="bilinear", antialias=self._antialias)
        return module.to(images.device)(2.0 * images[:, order].float() - 1.0)

    @cached_property
    def _loaded(self) -> tuple[nn.Module, tuple[int, ...]]:
        network = _choice(self._checkpoint, "network", self._network, _NETWORKS)
        order = _choice(self._checkpoint, "channels", self._channels, _CHANNELS)
        return self._checkpoint.build(network, torch.float32), order


class InsightfaceRecogniser(FaceRecogniser):
    """A recogniser in ONNX, read through insightface; it judges, and cannot guide: no gradients.

    Pictures are rounded to eight bits.

    Args:
        file: an `.onnx` file, absolute or relative to the package's weights; of insightface's packs, the recognition
            model: `glintr100.onnx` of antelopev2, `w600k_r50.onnx` of buffalo_l.

    References: github.com/deepinsight/insightface; its models are for non-commercial research.
    """

    paper = "insightface"

    def __init__(self, file: str) -> None:
        self._file = file

    @property
    def network_id(self) -> str:
        return f"recogniser:insightface/{Path(self._file).name}"

    def fingerprint(self) -> str:
        return digest(resolve(self._file))

    def load(self, device: torch.device | str) -> None:
        """Opens the session, on whatever device onnxruntime chooses."""
        _ = self._session

    def embed(self, images: Tensor) -> Tensor:
        if images.requires_grad and torch.is_grad_enabled():
            raise ConfigError(
                f"{self.network_id} has no gradients; it can judge, but a loss needs a recogniser in PyTorch, such as "
                "recogniser=arcface_ms1mv3"
            )
        pixels = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8)
        blue_first = pixels[:, _CHANNELS["bgr"]].permute(0, 2, 3, 1).cpu().numpy()
        features = torch.from_numpy(self._session.get_feat(list(blue_first)))
        return normalize(features.float(), dim=1).to(images.device)

    @cached_property
    def _session(self) -> Any:
        try:
            from insightface.model_zoo.arcface_onnx import ArcFaceONNX
        except ImportError as error:
            raise ConfigError(
                f"{self.network_id} needs the package insightface: pip install 'guidebench[insightface]'"
            ) from error
        path = resolve(self._file)
        try:
            return ArcFaceONNX(str(path))
        except Exception as error:  # onnxruntime and onnx raise exceptions of their own
            raise WeightsError(
                f"{path} cannot be read as a recogniser in ONNX: {str(error).splitlines()[0]}"
            ) from error


def match_threshold(impostors: Tensor, false_match_rate: float) -> float:
    """The smallest threshold that no more than this share of impostors' similarities exceeds, strictly.

    Args:
        impostors: similarities (n,) of pictures of different persons.
        false_match_rate: the share, such as 1e-3 of 102 x 101 pairs, which lets 10 pass.
    """
    allowed = math.floor(false_match_rate * len(impostors) + 1e-9)
    return float(impostors.sort(descending=True).values[allowed])


def _choice(checkpoint: Checkpoint, key: str, given: str | None, among: Mapping[str, Any]) -> Any:
    """What the configuration or the directory's config.json says of `key`."""
    if given is None and checkpoint.architecture is None:
        given = Checkpoint(checkpoint.source).arguments().get(key)
    if given is None or given not in among:
        raise WeightsError(
            f"{checkpoint.source}: {key} is {given!r}; set it in the configuration, or in the directory's config.json, "
            f"to one of {', '.join(among)}"
        )
    return among[given]
