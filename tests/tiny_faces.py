"""A small smooth network conditioned on pictures, a linear recogniser, and pairs of random pictures."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidebench.diffusion.analytic import TanhNetwork
from guidebench.diffusion.schedules import Linear, NoiseSchedule
from guidebench.models.base import DiffusionModel
from guidebench.models.readers.face_recognition import FaceRecogniser
from guidebench.pixels import to_tensor
from guidebench.problems import Morph, Picture

SHAPE = (3, 4, 4)
CODE = 5


class TinyAutoencoder(DiffusionModel):
    """Stands for DiffAE: a picture's code is a linear map of it; counts network rows."""

    conditioned_on = "picture"
    null = None

    def __init__(self) -> None:
        self._schedule = Linear(1000, 1e-4, 0.02)
        self.network = TanhNetwork(self._schedule, 48, CODE, dtype=torch.float32).requires_grad_(False)
        self.code = torch.randn(48, CODE, generator=torch.Generator().manual_seed(1)) / 4
        self.rows = 0

    def load(self, device: torch.device | str) -> None:
        pass

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def schedule(self) -> NoiseSchedule:
        return self._schedule

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return SHAPE

    def condition(self, values: Sequence[Picture | None]) -> Tensor:
        codes = [
            torch.zeros(CODE) if v is None else self.encode(to_tensor([v.load()])).flatten() @ self.code
            for v in values
        ]
        return torch.stack(codes)

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        self.rows += len(x_t)
        return self.network(x_t.flatten(1), t, cond).unflatten(1, SHAPE)

    def decode(self, x0: Tensor) -> Tensor:
        return (x0 + 1) / 2

    def encode(self, images: Tensor) -> Tensor:
        return 2 * images - 1

    def fingerprint(self) -> str:
        return "smooth"


class LinearRecogniser(FaceRecogniser):
    """Embeddings are a random projection of the pixels."""

    def __init__(self, seed: int = 0, pixels: int = 48) -> None:
        self.seed = seed
        self.matrix = torch.randn(pixels, 8, generator=torch.Generator().manual_seed(seed))

    @property
    def network_id(self) -> str:
        return f"linear-{self.seed}"

    def fingerprint(self) -> str:
        return self.network_id

    def load(self, device: torch.device | str) -> None:
        pass

    def embed(self, images: Tensor) -> Tensor:
        return torch.nn.functional.normalize((images - 0.5).flatten(1) @ self.matrix, dim=1)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)


def pair(i: int, j: int, seed: int = 0) -> Morph:
    a, b, c, d = (Picture(f"p{k}", partial(picture, k)) for k in (i, j, 100 + i, 100 + j))
    return Morph(f"{i}-{j}", seed, a, b, str(i), str(j), c, d)
