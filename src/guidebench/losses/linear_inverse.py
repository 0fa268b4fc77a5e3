"""Squared error between what a linear operator makes of a sample and an observation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.random import OBSERVATION, RandomStreams, generator
from guidebench.errors import ConfigError
from guidebench.losses.base import Loss
from guidebench.operators.linear import LinearOperator
from guidebench.pixels import to_tensor
from guidebench.problems import Picture, Problem, field


@dataclass(frozen=True)
class LinearObservation:
    """y = H x + sigma_y noise, and the objective ||y - H x||^2 / (2 spread^2); methods for linear problems read it.

    Args:
        operator: H.
        observation: y, (b, ...).
        sigma_y: standard deviation of the noise in y.
        spread: of the objective.
    """

    operator: LinearOperator
    observation: Tensor
    sigma_y: float
    spread: float

    def __call__(self, images: Tensor) -> Tensor:
        """Images (b, ...) -> losses (b,)."""
        error = self.observation - self.operator(images)
        return error.flatten(1).square().sum(1) / (2 * self.spread**2)


class LinearInverse(Loss):
    """L(x) = ||y - H x||^2 / (2 spread^2), with y = H x_reference + sigma_y noise of the problem's reference.

    The sum runs over all numbers of y, so the strength does not depend on the batch. Methods that solve linear problems
    in closed form take operator and observation from here.

    Args:
        operator: H, on images in [0, 1].
        sigma_y: standard deviation of the noise in y, in units of the pixels; 0 = none.
        spread: s; null = sigma_y. LGD's super-resolution has 0.25 / 2 with sigma_y = 0 (0.25 for pixels in [-1, 1]).

    Raises:
        ConfigError: neither sigma_y nor spread is positive.

    References: LGD (Song et al. 2023), Sec. 6.2; DPS (Chung et al. 2023), eq. 14.
    """

    paper: str = "LGD, Sec. 6.2"
    reads: tuple[str, ...] = ("reference",)

    def __init__(self, operator: LinearOperator, sigma_y: float = 0.0, spread: float | None = None) -> None:
        self.operator, self.sigma_y = operator, sigma_y
        self.spread = sigma_y if spread is None else spread
        if sigma_y < 0 or self.spread <= 0:
            raise ConfigError(
                f"loss: sigma_y={sigma_y}, spread={spread}; allowed are sigma_y of 0 or more and a spread above 0, "
                "which must be given where sigma_y is 0"
            )

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> LinearObservation:
        references = field(problems, "reference", "loss=linear_inverse")
        distinct = dict(zip(problems, references, strict=True))
        observed = {p: self._observe(p, reference, streams.device) for p, reference in distinct.items()}
        observation = torch.stack([observed[problem] for problem in problems])
        return LinearObservation(self.operator, observation, self.sigma_y, self.spread)

    def _observe(self, problem: Problem, reference: Picture, device: torch.device) -> Tensor:
        """The problem's observation, always the same whoever asks."""
        clean = self.operator(to_tensor([reference.load()]))[0]
        noise = torch.randn(clean.shape, generator=generator(problem.seed, problem.case_id, OBSERVATION))
        return (clean + self.sigma_y * noise).to(device)
