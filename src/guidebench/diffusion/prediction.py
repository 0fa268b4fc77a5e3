"""The one place where parameterisations convert: x_t = alpha_t x_0 + sigma_t eps."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Parameterisation = Literal["eps", "x0", "v", "score"]


@dataclass(frozen=True)
class Prediction:
    """What a network said about x_t, readable in every parameterisation.

    v = alpha_t eps - sigma_t x0; score = -eps / sigma_t. Nothing is clipped. Where alpha_t or sigma_t is 0 a
    conversion that divides by it gives inf or nan: ask the network at times where both are positive.

    Args:
        kind: parameterisation of `value`.
        value: the network's output, (b, ...).
        x_t: where it was evaluated, (b, ...).
        alpha_t: signal coefficient there.
        sigma_t: noise coefficient there.

    References: Salimans & Ho 2022, section 4 and appendix D (v).
    """

    kind: Parameterisation
    value: Tensor
    x_t: Tensor
    alpha_t: float
    sigma_t: float

    @property
    def eps(self) -> Tensor:
        """The noise, eps_hat."""
        match self.kind:
            case "eps":
                return self.value
            case "x0":
                return (self.x_t - self.alpha_t * self.value) / self.sigma_t
            case "v":
                return (self.sigma_t * self.x_t + self.alpha_t * self.value) / (
                    self.alpha_t**2 + self.sigma_t**2
                )
            case "score":
                return -self.sigma_t * self.value
        raise ValueError(f"unknown parameterisation {self.kind!r}; allowed are eps, x0, v, score")

    @property
    def x0(self) -> Tensor:
        """The clean sample, x0_hat."""
        match self.kind:
            case "x0":
                return self.value
            case "v":
                return (self.alpha_t * self.x_t - self.sigma_t * self.value) / (
                    self.alpha_t**2 + self.sigma_t**2
                )
            case _:
                return (self.x_t - self.sigma_t * self.eps) / self.alpha_t

    @property
    def v(self) -> Tensor:
        """The velocity, v_hat."""
        return self.value if self.kind == "v" else self.alpha_t * self.eps - self.sigma_t * self.x0

    @property
    def score(self) -> Tensor:
        """grad log p(x_t)."""
        return self.value if self.kind == "score" else -self.eps / self.sigma_t
