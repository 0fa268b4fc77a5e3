"""Noise predictions that are known exactly, and a small smooth network: for tests, docs and `guidebench gradients`.

Each is an `EpsModel`: model(x_t (b, d), t, cond) -> eps_hat (b, d).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.schedules import NoiseSchedule


@dataclass(frozen=True)
class Gaussian:
    """Exact noise prediction where the data are N(mean, diag(variance)).

    eps_hat = sigma (x - alpha mean) / (alpha^2 variance + sigma^2); where alpha = 0, x0_hat = mean.

    Args:
        schedule: the noise schedule.
        mean: (d,) or (b, d).
        variance: (d,), positive.
    """

    schedule: NoiseSchedule
    mean: Tensor
    variance: Tensor

    def __call__(self, x_t: Tensor, t: float, cond: Tensor | None = None) -> Tensor:
        """`cond`, where given, is added to the mean: (b, d)."""
        alpha_t, sigma_t = self.schedule.alpha(t), self.schedule.sigma(t)
        mean = self.mean if cond is None else self.mean + cond
        if alpha_t == 0.0:
            return mean + 0.0 * x_t
        return sigma_t * (x_t - alpha_t * mean) / (alpha_t**2 * self.variance + sigma_t**2)

    def ode_gain(self, t: float, u: float) -> Tensor:
        """d x_u / d x_t of the probability-flow ODE, (d,): the ratio of the marginal standard deviations."""
        std = [
            (self.schedule.alpha(s) ** 2 * self.variance + self.schedule.sigma(s) ** 2).sqrt() for s in (t, u)
        ]
        return std[1] / std[0]


@dataclass(frozen=True)
class GaussianMixture:
    """Exact noise prediction of a mixture of isotropic Gaussians, with conditioning and guidance.

    x_0 ~ sum_k w_k N(mu_k, variance I); eps_hat = sigma (x - alpha sum_k r_k mu_k) / (alpha^2 variance + sigma^2) with
    the posterior weights r_k; where alpha = 0, x0_hat = sum_k r_k mu_k. The conditioning is a tensor of logits (b, K)
    added to log w: minus infinity removes a component. With `cfg_scale` other than 1: uncond + cfg_scale (cond -
    uncond), both in one batch.

    Args:
        schedule: the noise schedule.
        means: mu, (K, d).
        variance: variance of every component.
        log_weights: log w, (K,); None = equal weights.
        cfg_scale: classifier-free guidance scale, used where a conditioning is given.
    """

    schedule: NoiseSchedule
    means: Tensor
    variance: float
    log_weights: Tensor | None = None
    cfg_scale: float = 1.0

    def __call__(self, x_t: Tensor, t: float, cond: Tensor | None = None) -> Tensor:
        """Guided noise prediction, (b, d)."""
        if cond is None or self.cfg_scale == 1.0:
            return self._predict(
                x_t, t, torch.zeros(x_t.shape[0], len(self.means), dtype=x_t.dtype) if cond is None else cond
            )
        both = self._predict(torch.cat([x_t, x_t]), t, torch.cat([torch.zeros_like(cond), cond]))
        eps_uncond, eps_cond = both.chunk(2)
        return eps_uncond + self.cfg_scale * (eps_cond - eps_uncond)

    def x0_variance(self, x_t: Tensor, t: float, cond: Tensor | None = None) -> Tensor:
        """Variance of each element of x_0 given x_t, without guidance, (b, d).

        That of a component's posterior, the same for all, and that of the components' posterior means.
        """
        sigma_t, variance_t = self.schedule.sigma(t), self._variance(t)
        posterior = self._posterior(x_t, t, 0.0 if cond is None else cond)
        between = posterior @ self.means.square() - (posterior @ self.means).square()
        return self.variance * sigma_t**2 / variance_t + (sigma_t**2 / variance_t) ** 2 * between.clamp_min(
            0.0
        )

    def _predict(self, x_t: Tensor, t: float, logits: Tensor) -> Tensor:
        expected, alpha_t = self._posterior(x_t, t, logits) @ self.means, self.schedule.alpha(t)
        if alpha_t == 0.0:
            return expected
        mean = alpha_t * expected
        return self.schedule.sigma(t) * (x_t - mean) / self._variance(t)

    def _posterior(self, x_t: Tensor, t: float, logits: Tensor | float) -> Tensor:
        """Probability of each component given x_t, (b, K)."""
        squares = (x_t[:, None, :] - self.schedule.alpha(t) * self.means).square().sum(-1)
        if self.log_weights is not None:
            logits = logits + self.log_weights
        return torch.softmax(logits - squares / (2.0 * self._variance(t)), dim=1)

    def _variance(self, t: float) -> float:
        """Variance of a component at time t."""
        return self.schedule.alpha(t) ** 2 * self.variance + self.schedule.sigma(t) ** 2

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of x_0, (n, d)."""
        weights = torch.ones(len(self.means)) if self.log_weights is None else self.log_weights.softmax(0)
        component = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[component] + self.variance**0.5 * noise


class TanhNetwork(torch.nn.Module):
    """A small smooth network with random weights: eps_hat = sigma_t x_t + W_2 tanh(W_1 [x_t, cond, time] + b_1) + b_2.

    The first term is the prediction for N(0, I) and keeps samples of order one. Smoothness matters: the fitted orders
    of solvers hold for no ReLU network.

    Args:
        schedule: gives the network its time as half log-SNR, squashed.
        dim: dimension d of x.
        cond_dim: dimension of the conditioning; it is zero where none is given.
        width: hidden width.
        seed: of the weights; the same in every precision.
        dtype: of the weights.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        dim: int,
        cond_dim: int = 0,
        width: int = 32,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.schedule, self.cond_dim = schedule, cond_dim
        fan_in = dim + cond_dim + 1

        def weight(*shape: int) -> torch.nn.Parameter:
            drawn = torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5
            return torch.nn.Parameter(drawn.to(dtype))

        self.w1, self.b1 = weight(width, fan_in), weight(width)
        self.w2, self.b2 = weight(dim, width), weight(dim)

    def forward(self, x_t: Tensor, t: float, cond: Tensor | None = None) -> Tensor:
        """(b, d)."""
        time = torch.full_like(x_t[:, :1], self.schedule.lam(t) / 5.0).tanh()
        if cond is None:
            cond = x_t.new_zeros(x_t.shape[0], self.cond_dim)
        hidden = torch.cat([x_t, cond, time], dim=1) @ self.w1.T + self.b1
        return self.schedule.sigma(t) * x_t + hidden.tanh() @ self.w2.T + self.b2
