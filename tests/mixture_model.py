"""An analytic model and a smooth loss: every method runs on them in milliseconds, and their answers are known."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidebench.diffusion.analytic import GaussianMixture
from guidebench.diffusion.schedules import NoiseSchedule, ScaledLinear
from guidebench.losses.base import Loss
from guidebench.models.base import DiffusionModel
from guidebench.problems import TextToImage

SHAPE = (3, 2, 2)
DIM, COMPONENTS = 12, 8


class Mixture(DiffusionModel):
    """The exact denoiser of a Gaussian mixture over 3 x 2 x 2 "latents"; a prompt keeps two of its components.

    Attributes:
        asked: x_t of every network call.
    """

    def __init__(self, schedule: NoiseSchedule | None = None) -> None:
        means = torch.randn(COMPONENTS, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self._schedule = schedule or ScaledLinear(1000, 0.00085, 0.012)
        self.exact = GaussianMixture(self._schedule, means, 0.25)
        self.asked: list[Tensor] = []

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

    def condition(self, prompts: Sequence[str]) -> Tensor:
        logits = torch.zeros(len(prompts), COMPONENTS, dtype=torch.float64)
        for row, prompt in enumerate(prompts):
            if prompt:
                first = len(prompt) % (COMPONENTS - 1)
                logits[row] = -20
                logits[row, first : first + 2] = 0
        return logits

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        assert cond is not None
        self.asked.append(x_t.detach().clone())
        return self.exact(x_t.flatten(1), t, cond).unflatten(1, SHAPE).to(x_t.dtype)

    def decode(self, x0: Tensor) -> Tensor:
        return torch.sigmoid(x0)

    def encode(self, images: Tensor) -> Tensor:
        return torch.logit(images)

    def fingerprint(self) -> str:
        return "exact"


class Target(Loss):
    """Squared distance to an image that belongs to the problem; NaN for the case `bad`."""

    def bind(self, problems: Sequence[TextToImage], streams: object) -> Callable[[Tensor], Tensor]:
        def target(problem: TextToImage) -> Tensor:
            generator = torch.Generator().manual_seed(sum(problem.case_id.encode()))
            return torch.rand(SHAPE, generator=generator, dtype=torch.float64)

        targets = torch.stack([target(p) for p in problems])
        factor = torch.tensor([float("nan") if p.case_id == "bad" else 1.0 for p in problems])
        return lambda images: (
            factor.to(images.dtype) * (images - targets.to(images.dtype)).square().flatten(1).sum(1)
        )
