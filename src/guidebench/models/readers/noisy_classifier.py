"""A classifier that was trained on noisy images, at all noise levels of a diffusion model."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor

from guidebench.errors import WeightsError
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.adm_unet import EncoderUNet
from guidebench.models.readers.classifiers import Classifier, Network


class NoisyClassifier(Classifier):
    """p(y | x_t, t) of ADM's noisy images; clean images are shown to it at its least noisy level but one.

    Args:
        source: directory, file or address of the weights, see `Checkpoint`.
        classes: names of the classes in the order of the logits; "imagenet" for ImageNet's thousand; null where
            `source` is a directory with `classes` in its config.json.
        architecture: arguments of `EncoderUNet` without `out_channels`; null where the directory's config.json has them
            as `architecture`.
        sha256: of the file, see `Checkpoint`.
        random_weights: build the architecture with random weights (seed 0) instead of loading `source`.
        dtype: precision of the network: "float32" or "bfloat16".

    Cost: one forward of the network per image.

    References: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, section 4. LGD (Song
        et al. 2023) evaluates it on clean estimates at t = 1e-3, table index 1.
    """

    paper = "Dhariwal & Nichol 2021, Sec. 4"
    clean_time = 1.0

    def __init__(
        self,
        source: str,
        classes: Sequence[str] | Literal["imagenet"] | None = None,
        architecture: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        random_weights: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        self._checkpoint = Checkpoint(source, architecture, sha256, random_weights, within="architecture")
        self._names, self._dtype = classes, getattr(torch, dtype)

    @property
    def network_id(self) -> str:
        name = self._checkpoint.source.rsplit("/", 1)[-1].removesuffix(".pt")
        return f"classifier:{name}" + (" (random weights)" if self._checkpoint.random_weights else "")

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def logits(self, images: Tensor) -> Tensor:
        return self.noisy_logits(self._prepared(images), self.clean_time).to(images.dtype)

    def noisy_logits(self, x_t: Tensor, t: float) -> Tensor:
        """Logits (b, k) of noisy images; differentiable with respect to them.

        Args:
            x_t: noisy pixels (b, 3, side, side) in the model's space, [-1, 1] plus noise; the network follows them.
            t: index of the noise level in ADM's table; 0 is the least noisy.

        Raises:
            WeightsError: the weights are missing, damaged, or do not fit the architecture.
        """
        times = torch.full((len(x_t),), float(t), device=x_t.device)
        return self._load().module.to(x_t.device)(x_t.to(self._dtype), times).to(x_t.dtype)

    def _load(self) -> Network:
        return self._network

    @cached_property
    def _network(self) -> Network:
        classes = self.classes
        module = self._checkpoint.build(partial(EncoderUNet, out_channels=len(classes)), self._dtype)
        side = int(self._checkpoint.arguments()["image_size"])
        half = (0.5, 0.5, 0.5)  # [0, 1] to [-1, 1]
        return Network(module, classes, False, side, side, half, half)

    @property
    def classes(self) -> tuple[str, ...]:
        if self._names == "imagenet":
            from torchvision.models import ResNet50_Weights

            return tuple(ResNet50_Weights.DEFAULT.meta["categories"])
        if self._names is not None:
            return tuple(self._names)
        config = Checkpoint(self._checkpoint.source).arguments()
        if "classes" not in config:
            raise WeightsError(
                f"{self._checkpoint.source}/config.json names no classes; set classifier.classes."
            )
        return tuple(config["classes"])
