"""Training-free guidance: one update of which the other methods are points."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import monte_carlo
from guidebench.methods.posterior.stage import Stage
from guidebench.samplers.base import Chain

Schedule = Literal["increase", "decrease", "constant"]


class TFG(Guidance):
    r"""Guide x_t through the network, guide x0_hat without it, smooth both by Monte Carlo, repeat each step.

    In variance-preserving units, with alpha = alpha_bar_t / alpha_bar_u of the step and lf the log of the mean of
    exp(-scale l) over `n_mc` draws of standard deviation gamma sigma_t:

        Delta_t = rho_t grad_{x_t} lf(x0_hat(x_t))
        Delta_0 = n_iter steps x0 <- x0 + mu_t grad lf(x0) from x0_hat, minus x0_hat
        x_u     = step(x_t) + Delta_t / sqrt(alpha) + sqrt(alpha_bar_u) Delta_0

    rho_t = rho s(t) T / sum s with s = alpha ("increase"), 1 - alpha ("decrease") or 1 ("constant"), and mu_t
    likewise. rho_t may also follow "score", that is rho times what makes the update the one of a guided score,
    whatever the sampler; with rho = 1 that is LGD. A process that is not variance preserving is guided as the one
    that it rescales to.

    LGD-DPS: score, mu = gamma = 0. LGD-MC: score, mu = 0, gamma = 1. FreeDoM: mu = gamma = 0, n_recur > 1. MPGD: rho =
    gamma = 0, n_iter = 1. Universal guidance: gamma = 0, n_iter = m, n_recur = k.

    Cost per stage: one forward and one backward of the network, n_mc (1 + n_iter) of the loss; `n_recur` times over.

    Args:
        scale: multiplies the loss; 0 is unguided sampling itself.
        rho: of the guidance through the network ("variance guidance").
        mu: of the guidance of x0_hat ("mean guidance").
        gamma: of the smoothing; 1 is LGD's r_t.
        n_mc: draws; the same for Delta_t and every step of Delta_0.
        n_iter: steps of Delta_0.
        n_recur: how often each step is made.
        rho_schedule, mu_schedule: how they follow the step.
        gamma_schedule: "decrease", gamma sigma_t, or "constant", gamma.

    Differs from the paper: "score" is new. The clipping of x0_hat in the authors' code is left out, and their LGD
    divides the gradient by n_mc once more.

    References: Ye et al., "TFG: Unified Training-Free Guidance for Diffusion Models", NeurIPS 2024, Algorithm 1.
    """

    paper = "TFG (Ye et al. 2024), Algorithm 1"

    def __init__(
        self,
        scale: float = 1.0,
        rho: float = 1.0,
        mu: float = 0.25,
        gamma: float = 0.1,
        n_mc: int = 1,
        n_iter: int = 4,
        n_recur: int = 1,
        rho_schedule: Literal["increase", "decrease", "constant", "score"] = "increase",
        mu_schedule: Schedule = "increase",
        gamma_schedule: Literal["decrease", "constant"] = "decrease",
    ) -> None:
        self.scale, self.rho, self.mu, self.gamma = scale, rho, mu, gamma
        self.n_mc, self.n_iter, self.n_recur = n_mc, n_iter, n_recur
        self.rho_schedule, self.mu_schedule, self.gamma_schedule = rho_schedule, mu_schedule, gamma_schedule

    def repeats(self, chain: Chain, step: int) -> int:
        return self.n_recur

    @property
    def losses_per_stage(self) -> int:
        return self.n_mc * (1 + self.n_iter)

    def guide(self, stage: Stage) -> Tensor:
        norm_t, norm_u = stage.norms
        alpha = _ratios(stage.chain)[stage.chain.step_of(stage.k)]
        noise = stage.normal(self.n_mc) if self.gamma else torch.zeros_like(stage.x0_hat)[None]
        spread = self.gamma * (stage.paper_spread if self.gamma_schedule == "decrease" else 1.0)

        def loss(x0: Tensor) -> Tensor:
            return self.scale * stage.loss(x0)

        estimate = monte_carlo(loss, stage.x0_hat, noise, spread)
        stage.log(estimate, self.scale)
        delta_t = norm_t * stage.pull_back(estimate.grad)  # the gradient in x_t / norm_t
        delta_0, mu_t = torch.zeros_like(stage.x0_hat), self.mu * _weight(stage, self.mu_schedule)
        for i in range(self.n_iter):
            here = estimate if i == 0 else monte_carlo(loss, stage.x0_hat + delta_0, noise, spread)
            delta_0 = delta_0 + mu_t * here.grad
        if alpha == 0.0:  # in pure noise, where x_t says nothing of the sample
            return stage.moved(stage.alpha_u * delta_0)
        if self.rho_schedule == "score":
            rho_t = self.rho * alpha**0.5 * stage.score_gain / (norm_t * norm_u)
        else:
            rho_t = self.rho * _weight(stage, self.rho_schedule)
        return stage.moved(norm_u * rho_t / alpha**0.5 * delta_t + stage.alpha_u * delta_0)


def _weight(stage: Stage, schedule: Schedule) -> float:
    """s(t) T / sum s over the chain's T steps."""
    ratios = _ratios(stage.chain)
    match schedule:
        case "increase":
            weights = ratios
        case "decrease":
            weights = [1 - ratio for ratio in ratios]
        case "constant":
            return 1.0
    return weights[stage.chain.step_of(stage.k)] * len(weights) / sum(weights)


def _ratios(chain: Chain) -> list[float]:
    """alpha_bar_t / alpha_bar_u of every step, in variance-preserving units."""
    alphas, sigmas = ([of(t) for t in chain.times] for of in (chain.schedule.alpha, chain.schedule.sigma))
    bars = [a**2 / (a**2 + s**2) for a, s in zip(alphas, sigmas, strict=True)]
    return [bar_t / bar_u for bar_t, bar_u in pairwise(bars)]
