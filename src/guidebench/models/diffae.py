"""DiffAE: diffusion autoencoders, whose condition is what an encoder reads from a picture."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guidebench.diffusion.schedules import Linear, NoiseSchedule
from guidebench.errors import ConfigError, WeightsError
from guidebench.models.base import DiffusionModel
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.diffae_unet import AutoencoderUNet
from guidebench.pixels import to_tensor
from guidebench.problems import Picture


class DiffAE(DiffusionModel):
    """A diffusion autoencoder: the published one of FFHQ at 256 x 256, or a small one of the same kind.

    A picture is two codes: z = `semantic(picture)`, which conditions every prediction, and x_T, its inversion under
    that condition, which holds what z does not. Pixels are in [-1, 1]; betas are linear, 1e-4 to 0.02 over 1000 steps.
    There is no null condition, so classifier-free guidance does not apply.

    Differs from the published code: predictions are never clipped and run in `dtype`, not in autocast half precision,
        so that sampling is the plain probability-flow ODE, which can be inverted and differentiated.

    Args:
        source: directory, file or address of the weights, see `Checkpoint`; of Lightning's checkpoints, the `.ckpt`.
        architecture: arguments of `AutoencoderUNet`; null where `source` is a directory with `architecture` in its
            config.json.
        prefix: of the network's keys in the file: `state_dict.ema_model.` in the published one.
        sha256: of the file, see `Checkpoint`.
        random_weights: build the architecture with random weights (seed 0) instead of loading `source`.
        dtype: precision of the network: "float32" or "bfloat16".

    References: Preechakul et al., "Diffusion Autoencoders: Toward a Meaningful and Decodable Representation", CVPR
        2022.
    """

    paper = "Preechakul et al. 2022"
    conditioned_on = "image"
    null = None

    def __init__(
        self,
        source: str,
        architecture: Mapping[str, Any] | None = None,
        prefix: str = "",
        sha256: str | None = None,
        random_weights: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        self._checkpoint = Checkpoint(
            source, architecture, sha256, random_weights, within="architecture", prefix=prefix
        )
        self._dtype = getattr(torch, dtype)
        self._network: AutoencoderUNet | None = None
        self._device = torch.device("cpu")

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def load(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        if self._network is None:
            network = self._checkpoint.build(AutoencoderUNet, self._dtype)
            assert isinstance(network, AutoencoderUNet)
            self._network = network
        self._network.to(self._device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The frozen network by name: unet, which holds the encoder."""
        return {"unet": self._loaded}

    @property
    def _loaded(self) -> AutoencoderUNet:
        if self._network is None:
            raise WeightsError("DiffAE is not loaded: call load(device) first")
        return self._network

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def schedule(self) -> NoiseSchedule:
        return Linear()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        side = self._checkpoint.arguments()["image_size"]
        return 3, side, side

    def condition(self, values: Sequence[Picture | None]) -> Tensor:
        """Semantic codes of pictures of the network's size, (b, z).

        Raises:
            ConfigError: a problem gives no picture, or one of another size.
        """
        side = self.sample_shape[-1]
        pictures = []
        for value in values:
            if value is None:
                raise ConfigError(
                    "model: DiffAE is conditioned on a picture and has no null condition; choose a dataset whose "
                    "problems have the field 'image', and cfg_scale=1"
                )
            pictures.append(value.load())
            if pictures[-1].shape != (side, side, 3):
                height, width = pictures[-1].shape[:2]
                raise ConfigError(
                    f"model: DiffAE reads aligned pictures of {side} x {side} pixels, {value.name} has {width} x "
                    f"{height}; align and resize it"
                )
        with torch.no_grad():
            return self.semantic(to_tensor(pictures, self._device))

    def semantic(self, images: Tensor) -> Tensor:
        """z of images (b, 3, side, side) in [0, 1], (b, z), float32; differentiable."""
        return self._loaded.encoder(self.encode(images).to(self._dtype)).float()

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        if cond is None:
            raise ConfigError("model: DiffAE predicts the noise for a semantic code z only; give cond")
        times = torch.full((len(x_t),), float(t), device=x_t.device)
        return self._loaded(x_t.to(self._dtype), times, cond.to(self._dtype)).to(x_t.dtype)

    def decode(self, x0: Tensor) -> Tensor:
        return x0 / 2 + 0.5

    def encode(self, images: Tensor) -> Tensor:
        return images * 2 - 1
