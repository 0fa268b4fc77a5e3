"""ADM: pixel-space diffusion models without conditioning."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guidebench.diffusion.schedules import Cosine, Linear, NoiseSchedule
from guidebench.errors import WeightsError
from guidebench.models.base import DiffusionModel
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.adm_unet import UNet


class ADM(DiffusionModel):
    """An unconditional pixel-space model: OpenAI's 256 x 256 checkpoint, or a small one of the same kind.

    Pixels are in [-1, 1]; betas are linear, 1e-4 to 0.02, or those of the cosine, over 1000 steps. Of a network with
    six output channels the first three are the noise; the others, the learned variance, are not used. Prompts are
    ignored.

    Args:
        source: directory, file or address of the weights, see `Checkpoint`.
        architecture: arguments of `UNet`; null where `source` is a directory with `architecture` in its config.json.
        sha256: of the file, see `Checkpoint`.
        random_weights: build the architecture with random weights (seed 0) instead of loading `source`.
        dtype: precision of the network: "float32" or "bfloat16".
        noise_schedule: "linear", or "cosine" as for the 64-px checkpoint.

    References: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021.
    """

    paper = "Dhariwal & Nichol 2021"
    conditioned_on = ""

    def __init__(
        self,
        source: str,
        architecture: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        random_weights: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
        noise_schedule: Literal["linear", "cosine"] = "linear",
    ) -> None:
        self._checkpoint = Checkpoint(source, architecture, sha256, random_weights, within="architecture")
        self._dtype = getattr(torch, dtype)
        self._noise_schedule = noise_schedule
        self._network: nn.Module | None = None
        self._device = torch.device("cpu")

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def load(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        if self._network is None:
            classes = self._checkpoint.arguments().get("num_classes")
            if classes is not None:
                raise WeightsError(
                    f"model.architecture.num_classes={classes}: the network reads a class, and ADM samples without "
                    "condition; choose an unconditional checkpoint, such as model=adm256"
                )
            self._network = self._checkpoint.build(UNet, self._dtype)
        self._network.to(self._device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The frozen network by name: unet."""
        if self._network is None:
            raise WeightsError("ADM is not loaded: call load(device) first")
        return {"unet": self._network}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def schedule(self) -> NoiseSchedule:
        return Linear() if self._noise_schedule == "linear" else Cosine()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        side = self._checkpoint.arguments()["image_size"]
        return 3, side, side

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Nothing: (b, 0), whatever the prompts."""
        return torch.zeros(len(prompts), 0, device=self._device)

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        times = torch.full((len(x_t),), float(t), device=x_t.device)
        return self.modules["unet"](x_t.to(self._dtype), times)[:, :3].to(x_t.dtype)

    def decode(self, x0: Tensor) -> Tensor:
        return x0 / 2 + 0.5

    def encode(self, images: Tensor) -> Tensor:
        return images * 2 - 1
