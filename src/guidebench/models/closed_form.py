"""Diffusion models of plain vectors that need no weights, where gradients through whole chains are compared."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from guidebench.diffusion.analytic import Gaussian, GaussianMixture, TanhNetwork
from guidebench.diffusion.schedules import Linear, NoiseSchedule
from guidebench.models.base import DiffusionModel
from guidebench.samples import SampleKind

_COMPONENTS, _PROMPTED = 8, 2
"""Of the mixture, and how many of them any prompt leaves."""


class ClosedForm(DiffusionModel):
    """A Gaussian with the spectrum of natural images, a mixture of Gaussians, or a small smooth random network.

    The linear table of 1000 steps. Of the mixture, any prompt leaves the first two of eight components. `decode` and
    `encode` are the identity.

    Args:
        distribution: which.
        dim: of the vectors.
        dtype: of weights and predictions.
    """

    kind: ClassVar[SampleKind] = "tensors"
    conditioned_on: ClassVar[str] = "prompt"

    def __init__(
        self,
        distribution: Literal["gaussian", "mixture", "network"],
        dim: int = 64,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        self.distribution, self.dim = distribution, dim
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._schedule = Linear()
        self._device = torch.device("cpu")

    def load(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._model = self._built()
        if isinstance(self._model, nn.Module):
            self._model.to(self._device)

    def _built(self) -> Gaussian | GaussianMixture | TanhNetwork:
        schedule, dtype = self._schedule, self._dtype
        if self.distribution == "gaussian":
            variance = torch.arange(1, self.dim + 1, dtype=dtype) ** -2.0
            return Gaussian(
                schedule, torch.zeros(self.dim, dtype=dtype).to(self._device), variance.to(self._device)
            )
        if self.distribution == "mixture":
            generator = torch.Generator().manual_seed(3)
            means = torch.randn(_COMPONENTS, self.dim, generator=generator, dtype=torch.float64)
            return GaussianMixture(schedule, means.to(self._device, dtype), 0.25)
        return TanhNetwork(schedule, self.dim, width=256, dtype=dtype).requires_grad_(False)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"network": self._model} if isinstance(self._model, nn.Module) else {}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def schedule(self) -> NoiseSchedule:
        return self._schedule

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def condition(self, values: Sequence[Any]) -> Tensor:
        """Logits of the components, (b, 8); the others know no condition, (b, 0)."""
        if self.distribution != "mixture":
            return torch.zeros(len(values), 0, dtype=self._dtype, device=self._device)
        logits = torch.zeros(len(values), _COMPONENTS, dtype=self._dtype, device=self._device)
        prompted = torch.tensor([value != self.null for value in values], device=self._device)
        logits[prompted, _PROMPTED:] = -float("inf")
        return logits

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        return self._model(x_t, t, cond if self.distribution == "mixture" else None)

    def decode(self, x0: Tensor) -> Tensor:
        return x0

    def encode(self, images: Tensor) -> Tensor:
        return images

    def fingerprint(self) -> str:
        return f"closed form {self.distribution} {self.dim}"
