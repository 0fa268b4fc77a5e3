"""One network evaluation of a sampling chain, as a method that guides it sees it."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from guidebench.diffusion.prediction import Prediction
from guidebench.errors import ConfigError
from guidebench.methods.posterior.likelihood import Likelihood, rowwise
from guidebench.samplers.base import Chain, EpsModel

Injection = Literal["score", "pigdm_paper", "pigdm_code", "dps_norm"]
"""How a gradient g of log p(y | x_t) enters the step from t to u: x_u moves by c g, where c is

score: that of adding g to the score, eps' = eps_hat - sigma_t g and so x0' = x0_hat + (sigma_t^2 / alpha_t) g,
    whatever the sampler; consistent with Bayes' rule, so the default;
pigdm_paper: alpha_t (PiGDM, Algorithm 1, there sqrt(alpha_bar_t));
pigdm_code: alpha_t alpha_u (its authors' code: adding the gradient in the variance-exploding variable x / alpha);
dps_norm: 1 / (2 sqrt(l)), which makes g the gradient of -sqrt(l), for a squared error its norm (DPS, Algorithm 1).
"""


class Stage:
    """Where a chain asks for the noise, and what can be done with the answer.

    Every kind of guidance is a change of the predicted noise: samplers are affine in it, so that moving the next state
    by d is the same as adding d / gain to it. That holds for every sampler, the multistep and coupled ones included.

    Args:
        chain: the chain.
        k: index of the stage.
        x_t: where the network is asked, (b, ...).
        t: at which time.
        eps_model: x_t -> eps_hat, conditioning included.
        loss: what the method's `bind` made, by default a `DrawLoss`.
        normal: gives n standard normal draws, (n, b, ...).
        backpropagates: keep the graph of the network for `pull_back`.

    Attributes:
        eps: the unguided prediction that the chain would be told: eps_hat, or x0_hat where alpha_t = 0, (b, ...).
        noise: the unguided eps_hat, (b, ...).
        x0_hat: one-step estimate of the clean sample, (b, ...).
        alpha_t, sigma_t: coefficients of x_t.
        alpha_u, sigma_u: coefficients where the step leads.
        logged: values to remember of this stage, by name, each (b,).
    """

    def __init__(
        self,
        chain: Chain,
        k: int,
        x_t: Tensor,
        t: float,
        eps_model: EpsModel,
        cond: Tensor | None,
        loss: Any,
        normal: Callable[[int], Tensor],
        backpropagates: bool,
    ) -> None:
        self.chain, self.k, self.t, self.loss, self.normal = chain, k, t, loss, normal
        schedule, u = chain.schedule, chain.times[chain.step_of(k) + 1]
        self.alpha_t, self.sigma_t = schedule.alpha(t), schedule.sigma(t)
        self.alpha_u, self.sigma_u = schedule.alpha(u), schedule.sigma(u)
        self.logged: dict[str, Tensor] = {}
        self._eps_model, self._cond = eps_model, cond
        with torch.set_grad_enabled(backpropagates):
            self._leaf = x_t.detach().requires_grad_(backpropagates)
            eps = eps_model(self._leaf, t, cond)
            prediction = Prediction.of_told(eps, self._leaf, self.alpha_t, self.sigma_t)
            self._x0_hat = prediction.x0
        self.x_t, self.eps, self.x0_hat = self._leaf.detach(), eps.detach(), self._x0_hat.detach()
        self.noise = prediction.eps.detach()

    def pull_back(self, grad: Tensor) -> Tensor:
        """Gradient with respect to x_t from the one with respect to x0_hat, (b, ...): one network backward.

        Can be called once: the graph is freed.
        """
        (pulled,) = torch.autograd.grad(self._x0_hat, self._leaf, grad)
        return pulled

    @property
    def score_gain(self) -> float:
        """kappa: by how much x_u moves per unit of gradient that is added to the score."""
        return -self.sigma_t * self.chain.gain(self.k)

    @property
    def norms(self) -> tuple[float, float]:
        """sqrt(alpha^2 + sigma^2) at t and u: 1 where variance is preserved, x over it where it is not."""
        return math.hypot(self.alpha_t, self.sigma_t), math.hypot(self.alpha_u, self.sigma_u)

    def log(self, estimate: Likelihood, weight: float = 1.0) -> None:
        """Remember the loss that an estimate stands for, and its effective number of draws."""
        self.logged |= {"loss": -estimate.log_p / weight, "ess": estimate.ess}

    def scored(self, grad: Tensor) -> Tensor:
        """The prediction eps' whose score has `grad`, the gradient of a log density in x_t, added to it.

        In pure noise, where x_t says nothing of the sample, no gradient in x_t moves the prediction.
        """
        return self.eps - self.sigma_t * grad if self.alpha_t > 0.0 else self.eps

    def estimated(self, told: Tensor) -> Tensor:
        """The estimate of the clean sample under the prediction `told`."""
        return Prediction.of_told(told, self.x_t, self.alpha_t, self.sigma_t).x0

    def estimating(self, told: Tensor, shift: Tensor) -> Tensor:
        """The prediction that moves the estimate of the clean sample under `told` by `shift`."""
        return told - self.alpha_t / self.sigma_t * shift if self.alpha_t > 0.0 else told + shift

    def moved(self, shift: Tensor) -> Tensor:
        """The prediction eps' that moves x_u by `shift`; the network's own in a step that moves nothing."""
        gain = self.chain.gain(self.k)
        return self.eps if gain == 0.0 else self.eps + shift / gain

    def landing(self, x_u: Tensor) -> Tensor:
        """The prediction eps' with which DDIM (eta = 0) steps to `x_u`."""
        a, b = self.chain.schedule.transfer(self.t, self.chain.times[self.chain.step_of(self.k) + 1])
        return (x_u - a * self.x_t) / b

    def injected(self, grad: Tensor, how: Injection, weight: float, log_p: Tensor) -> Tensor:
        """The prediction eps' under `weight` times the gradient of log p(y | x_t).

        Args:
            grad: the gradient with respect to x_t, (b, ...).
            how: see `Injection`.
            weight: factor on it.
            log_p: log p(y | x_t), (b,); "dps_norm" needs a loss of 0 or more.
        """
        match how:
            case "score":
                return self.scored(weight * grad)
            case "pigdm_paper":
                return self.moved(weight * self.alpha_t * grad)
            case "pigdm_code":
                return self.moved(weight * self.alpha_t * self.alpha_u * grad)
            case "dps_norm":
                return self.moved(weight * rowwise(root_slope(-log_p), grad) * grad)
        raise ConfigError(
            f"method.injection: got {how!r}; allowed are 'score', 'pigdm_paper', 'pigdm_code' and 'dps_norm'"
        )

    @cached_property
    def paper_spread(self) -> float:
        """r_t = sigma / sqrt(1 + sigma^2) at the noise level sigma = sigma_t / alpha_t (LGD, Sec. 4.2).

        The standard deviation of p(x_0 | x_t) where the data are N(m, I); sigma_t itself on a variance-preserving
        schedule.
        """
        return self.sigma_t / self.norms[0]

    def posterior_spread(self) -> Tensor:
        """The standard deviation of each element of p(x_0 | x_t), (b, ...), from a model that knows it.

        Raises:
            ConfigError: it does not.
        """
        variance: Callable[[Tensor, float, Tensor | None], Tensor] | None = getattr(
            self._eps_model, "x0_variance", None
        )
        if variance is None:
            raise ConfigError(
                "method.spread: 'posterior' needs a model that knows the variance of x_0 given x_t (`x0_variance`, as "
                "the analytic ones do); choose method.spread=paper"
            )
        return variance(self.x_t, self.t, self._cond).sqrt()


def root_slope(loss: Tensor) -> Tensor:
    """d sqrt(l) / d l = 1 / (2 sqrt(l)), (b,); 0 at l = 0, where the gradient of l vanishes too."""
    return torch.where(loss == 0, torch.zeros_like(loss), 0.5 * loss.rsqrt())
