"""The one place where parameterisations convert: x_t = alpha_t x_0 + sigma_t eps."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from guidebench.errors import ConfigError

Parameterisation = Literal["eps", "x0", "v", "flow", "score"]


@dataclass(frozen=True)
class Prediction:
    """What a network said about x_t, readable in every parameterisation.

    v = alpha_t eps - sigma_t x0; flow = eps - x0, the velocity dx/dt of x_t = (1 - t) x_0 + t eps; score = -eps /
    sigma_t. Nothing is clipped. Where sigma_t is 0 a conversion that divides by it gives inf or nan: ask the network at
    times where it is positive.

    Where alpha_t is 0, x_t is the noise and nothing else: eps_hat = x_t / sigma_t, whatever the network says, and what
    it says is x0_hat, in every parameterisation but eps and score. So a sampler is *told* eps_hat where alpha_t > 0
    and x0_hat where alpha_t = 0.

    Args:
        kind: parameterisation of `value`.
        value: the network's output, (b, ...).
        x_t: where it was evaluated, (b, ...).
        alpha_t: signal coefficient there.
        sigma_t: noise coefficient there.

    References: Salimans & Ho 2022, section 4 and appendix D (v); Lipman et al. 2023 (flow).
    """

    kind: Parameterisation
    value: Tensor
    x_t: Tensor
    alpha_t: float
    sigma_t: float

    @classmethod
    def of_told(cls, told: Tensor, x_t: Tensor, alpha_t: float, sigma_t: float) -> "Prediction":
        """The prediction that a sampler is told of by `told`."""
        return cls("x0" if alpha_t == 0.0 else "eps", told, x_t, alpha_t, sigma_t)

    @property
    def told(self) -> Tensor:
        """What a sampler is told: eps_hat, or x0_hat where alpha_t = 0.

        Raises:
            ConfigError: alpha_t = 0, and the network predicts the noise alone.
        """
        if self.alpha_t > 0.0:
            return self.eps
        if self.kind in ("eps", "score"):
            raise ConfigError(
                "sampler.grid: it begins where there is no signal, and the network, which predicts the noise, says "
                "nothing of the sample there; begin later, or choose a model that predicts x0 or a velocity"
            )
        return self.x0

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
            case "flow":
                return (self.x_t + self.alpha_t * self.value) / (self.alpha_t + self.sigma_t)
            case "score":
                return -self.sigma_t * self.value
        raise ValueError(f"unknown parameterisation {self.kind!r}; allowed are eps, x0, v, flow, score")

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
            case "flow":
                return (self.x_t - self.sigma_t * self.value) / (self.alpha_t + self.sigma_t)
            case _:
                return (self.x_t - self.sigma_t * self.eps) / self.alpha_t

    @property
    def v(self) -> Tensor:
        """The velocity, v_hat."""
        return self.value if self.kind == "v" else self.alpha_t * self.eps - self.sigma_t * self.x0

    @property
    def flow(self) -> Tensor:
        """The velocity of a rectified flow, eps_hat - x0_hat."""
        return self.value if self.kind == "flow" else self.eps - self.x0

    @property
    def score(self) -> Tensor:
        """grad log p(x_t)."""
        return self.value if self.kind == "score" else -self.eps / self.sigma_t
