"""Noise schedules: x_t = alpha_t x_0 + sigma_t eps, with coefficients always in float64.

A time is whatever the network is conditioned on: an index 0 … n-1 of a table, t in [t_min, 1] of the continuous VP
process and of a rectified flow, or sigma itself for EDM. Every schedule also has a *clean time*, where alpha = 1 and
sigma = 0. The noisiest time may be pure noise, alpha = 0: rectified flows, and tables with zero terminal SNR.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guidebench.errors import ConfigError


class NoiseSchedule(ABC):
    """alpha(t), sigma(t) and lam(t) = log(alpha_t / sigma_t), half the log signal-to-noise ratio, as Python floats.

    Attributes:
        t_min, t_max: the least and most noisy times at which a network is defined.
        t_clean: the time of clean data; no network may be asked there.
        prior_std: standard deviation of x at `t_max`; x_T = prior_std * standard normal.
    """

    t_min: float
    t_max: float
    t_clean: float
    prior_std: float = 1.0

    @abstractmethod
    def lam(self, t: float) -> float:
        """Half log-SNR, strictly decreasing in t; +inf at the clean time, -inf where alpha = 0."""

    @abstractmethod
    def time_of_lam(self, lam: float) -> float:
        """The inverse of `lam`.

        Raises:
            ConfigError: `lam` lies outside [lam(t_max), lam(t_min)].
        """

    def alpha(self, t: float) -> float:
        """Signal coefficient; variance preserving unless a schedule says otherwise."""
        return 1.0 / math.sqrt(1.0 + math.exp(-2.0 * self.lam(t)))

    def sigma(self, t: float) -> float:
        """Noise coefficient; variance preserving unless a schedule says otherwise."""
        lam = self.lam(t)
        return 0.0 if lam == math.inf else 1.0 / math.sqrt(1.0 + math.exp(2.0 * lam))

    def transfer(self, t: float, u: float) -> tuple[float, float]:
        """Coefficients (a, b) of the exponential-Euler step x_u = a x_t + b eps_hat(x_t, t), in either direction.

        It is x_u = alpha_u x0_hat + sigma_u eps_hat: a = alpha_u / alpha_t and b = sigma_u - a sigma_t =
        -sigma_u (e^(lam_u - lam_t) - 1), in the form that stays finite where sigma_u = 0. From noisy to clean b <= 0.
        Where alpha_t = 0, x_t / sigma_t is eps_hat and the network says x0_hat (`Prediction.told`): (sigma_u /
        sigma_t, alpha_u) are then the coefficients of x_t and of x0_hat.
        """
        if self.alpha(t) == 0.0:
            return self.sigma(u) / self.sigma(t), self.alpha(u)
        a = self.alpha(u) / self.alpha(t)
        return a, self.sigma(u) - a * self.sigma(t)

    def gamma(self, t: float) -> float:
        """AdjointDPM's variable rho = gamma(t) = alpha_0 sigma_t / alpha_t - sigma_0, where 0 stands for `t_min`.

        References: Pan et al. 2024 (AdjointDPM), eq. 9.
        """
        return self.alpha(self.t_min) * self.sigma(t) / self.alpha(t) - self.sigma(self.t_min)

    def time_of_gamma(self, rho: float) -> float:
        """The inverse of `gamma`."""
        return self.time_of_lam(-math.log((rho + self.sigma(self.t_min)) / self.alpha(self.t_min)))

    def check_lam(self, lam: float) -> None:
        """Raise `ConfigError` unless lam lies between the schedule's ends (to rounding)."""
        low, high = self.lam(self.t_max), self.lam(self.t_min)
        slack = 1e-9 * max(1.0, abs(lam))
        if not low - slack <= lam <= high + slack:
            raise ConfigError(
                f"half log-SNR {lam:.6g} is outside [{low:.6g}, {high:.6g}] of {self!r}: choose a grid whose noise "
                "levels (churn included) the schedule reaches"
            )


@dataclass(frozen=True)
class TableSchedule(NoiseSchedule):
    """A variance-preserving schedule given by cumulative products alpha_bar at the indices 0 … n_timesteps-1.

    Between indices, half the log-SNR is linear in t, so fractional times have a closed-form inverse.

    Args:
        n_timesteps: length of the table.
    """

    n_timesteps: int = 1000

    t_min = 0.0
    t_clean = -1.0

    @property
    def t_max(self) -> float:  # type: ignore[override]
        """The last index."""
        return float(self.n_timesteps - 1)

    @abstractmethod
    def betas(self) -> NDArray[np.float64]:
        """The variances beta_t of the forward process, (n_timesteps,)."""

    @cached_property
    def alphas_cumprod(self) -> NDArray[np.float64]:
        """alpha_bar_t = prod (1 - beta), (n_timesteps,), float64."""
        return np.cumprod(1.0 - self.betas(), dtype=np.float64)

    @cached_property
    def _lam(self) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):  # zero terminal SNR
            return 0.5 * (np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod))

    def _index(self, t: float) -> int | None:
        """t as an index, or None for a fractional time; the range is checked."""
        if not 0.0 <= t <= self.n_timesteps - 1:
            raise ConfigError(
                f"time {t} is outside the table 0 … {self.n_timesteps - 1} (clean data is time {self.t_clean:g})"
            )
        return int(t) if t == int(t) else None

    def lam(self, t: float) -> float:
        """Half log-SNR: the table's at an index, linear in between."""
        if t == self.t_clean:
            return math.inf
        index = self._index(t)
        if index is not None:
            return float(self._lam[index])
        low = math.floor(t)
        return float(self._lam[low] + (t - low) * (self._lam[low + 1] - self._lam[low]))

    def alpha(self, t: float) -> float:
        """sqrt(alpha_bar), exactly the table's at an index."""
        index = None if t == self.t_clean else self._index(t)
        return super().alpha(t) if index is None else math.sqrt(self.alphas_cumprod[index])

    def sigma(self, t: float) -> float:
        """sqrt(1 - alpha_bar), exactly the table's at an index."""
        index = None if t == self.t_clean else self._index(t)
        return super().sigma(t) if index is None else math.sqrt(1.0 - self.alphas_cumprod[index])

    def time_of_lam(self, lam: float) -> float:
        """The (fractional) index at which half the log-SNR is `lam`."""
        self.check_lam(lam)
        return float(np.interp(-lam, -self._lam, np.arange(self.n_timesteps)))


@dataclass(frozen=True)
class ScaledLinear(TableSchedule):
    """Stable Diffusion's table: sqrt(beta) linear between the square roots of the end points.

    Args:
        n_timesteps: length of the table.
        beta_start: first beta.
        beta_end: last beta.

    References: Rombach et al. 2022; CompVis/stable-diffusion, `beta_schedule: linear`.
    """

    beta_start: float = 0.00085
    beta_end: float = 0.012

    def betas(self) -> NDArray[np.float64]:
        """linspace(sqrt(beta_start), sqrt(beta_end), n)^2."""
        roots = np.linspace(math.sqrt(self.beta_start), math.sqrt(self.beta_end), self.n_timesteps)
        return np.square(roots, dtype=np.float64)


@dataclass(frozen=True)
class Linear(TableSchedule):
    """beta linear in t: DDPM, ADM, DiffAE.

    Args:
        n_timesteps: length of the table.
        beta_start: first beta.
        beta_end: last beta.

    References: Ho et al. 2020, section 4.
    """

    beta_start: float = 1e-4
    beta_end: float = 0.02

    def betas(self) -> NDArray[np.float64]:
        """linspace(beta_start, beta_end, n)."""
        return np.linspace(self.beta_start, self.beta_end, self.n_timesteps)


@dataclass(frozen=True)
class Cosine(TableSchedule):
    """alpha_bar(t) proportional to cos^2((t + s) / (1 + s) pi / 2), betas clipped: DeepFloyd IF, MDM.

    Args:
        n_timesteps: length of the table.
        s: offset that keeps the first betas from vanishing.
        max_beta: upper clip of beta.

    References: Nichol & Dhariwal 2021, eq. 17.
    """

    s: float = 0.008
    max_beta: float = 0.999

    def betas(self) -> NDArray[np.float64]:
        """1 - alpha_bar(t+1)/alpha_bar(t), clipped."""
        edges = np.arange(self.n_timesteps + 1) / self.n_timesteps
        alpha_bar = np.cos((edges + self.s) / (1.0 + self.s) * math.pi / 2.0) ** 2
        return np.minimum(1.0 - alpha_bar[1:] / alpha_bar[:-1], self.max_beta)


@dataclass(frozen=True)
class Table(TableSchedule):
    """Any table of betas, such as the one stored in a checkpoint.

    Args:
        n_timesteps: length of the table; must equal that of `values`.
        values: the betas.
    """

    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.values) != self.n_timesteps:
            raise ConfigError(
                f"Table: {len(self.values)} betas for n_timesteps = {self.n_timesteps}; make them equal"
            )

    def betas(self) -> NDArray[np.float64]:
        """The values."""
        return np.asarray(self.values, dtype=np.float64)


@dataclass(frozen=True)
class ContinuousVP(NoiseSchedule):
    """The continuous variance-preserving process with beta(t) = beta_0 + (beta_1 - beta_0) t on t in [t_min, 1].

    log alpha(t) = -beta_0 t / 2 - (beta_1 - beta_0) t^2 / 4.

    Args:
        beta_0: beta at t = 0.
        beta_1: beta at t = 1.
        t_min: the least noisy time.

    References: Song et al. 2021, eq. 33; AdjointDEIS, appendix I.
    Differs from the paper: AdjointDEIS prints the exponent of d(sigma^2)/dt as -2 beta_0 t; it is -beta_0 t.
    """

    beta_0: float = 0.1
    beta_1: float = 20.0
    t_min: float = 1e-3

    t_max = 1.0
    t_clean = 0.0

    def log_alpha(self, t: float) -> float:
        """log alpha(t)."""
        return -0.5 * self.beta_0 * t - 0.25 * (self.beta_1 - self.beta_0) * t * t

    def alpha(self, t: float) -> float:
        """exp(log_alpha)."""
        return math.exp(self.log_alpha(t))

    def sigma(self, t: float) -> float:
        """sqrt(1 - alpha^2), without cancellation near t = 0."""
        return math.sqrt(-math.expm1(2.0 * self.log_alpha(t)))

    def lam(self, t: float) -> float:
        """log(alpha / sigma)."""
        sigma = self.sigma(t)
        return math.inf if sigma == 0.0 else self.log_alpha(t) - math.log(sigma)

    def time_of_lam(self, lam: float) -> float:
        """Closed form: log alpha = -log(1 + e^(-2 lam)) / 2, then the root of the quadratic in t.

        References: AdjointDEIS, eq. H.15.
        """
        log_alpha = -0.5 * math.log1p(math.exp(-2.0 * lam))
        delta = self.beta_1 - self.beta_0
        # The root in its form without cancellation: 4 (-log alpha) / (beta_0 + sqrt(beta_0^2 - 4 delta log alpha)).
        return -4.0 * log_alpha / (self.beta_0 + math.sqrt(self.beta_0**2 - 4.0 * delta * log_alpha))


@dataclass(frozen=True)
class RectifiedFlow(NoiseSchedule):
    """The straight line between data and noise: alpha = 1 - t, sigma = t on t in (0, 1]; pure noise at t = 1.

    Args:
        t_min: the least noisy time.

    References: Liu et al. 2023 (rectified flow); Lipman et al. 2023 (flow matching).
    """

    t_min: float = 1e-3

    t_max = 1.0
    t_clean = 0.0

    def alpha(self, t: float) -> float:
        """1 - t."""
        return 1.0 - t

    def sigma(self, t: float) -> float:
        """t."""
        return t

    def lam(self, t: float) -> float:
        """log((1 - t) / t)."""
        if t in (0.0, 1.0):
            return math.inf if t == 0.0 else -math.inf
        return math.log1p(-t) - math.log(t)

    def time_of_lam(self, lam: float) -> float:
        """1 / (1 + e^lam)."""
        self.check_lam(lam)
        return 1.0 / (1.0 + math.exp(lam))


@dataclass(frozen=True)
class EDM(NoiseSchedule):
    """The variance-exploding process of Karras et al.: alpha = 1, sigma = t; a time *is* a noise level.

    Args:
        sigma_min: the least noise level of a grid.
        sigma_max: the greatest.

    References: Karras et al. 2022, table 1.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    t_clean = 0.0

    @property
    def t_min(self) -> float:  # type: ignore[override]
        """sigma_min."""
        return self.sigma_min

    @property
    def t_max(self) -> float:  # type: ignore[override]
        """sigma_max."""
        return self.sigma_max

    @property
    def prior_std(self) -> float:  # type: ignore[override]
        """sigma_max: x_T ~ N(0, sigma_max^2)."""
        return self.sigma_max

    def alpha(self, t: float) -> float:
        """1."""
        return 1.0

    def sigma(self, t: float) -> float:
        """t."""
        return t

    def lam(self, t: float) -> float:
        """-log t."""
        return math.inf if t == 0.0 else -math.log(t)

    def time_of_lam(self, lam: float) -> float:
        """exp(-lam); unbounded, for churn may exceed sigma_max."""
        return math.exp(-lam)
