r"""Estimators of log p(y | x_t) around the one-step estimate x0_hat, and of its gradient there.

The target is p(x_0) exp(-l(x_0)), so log p(y | x_t) = log E[exp(-l(x_0)) | x_t]. An estimator replaces p(x_0 | x_t) by
something it can evaluate and differentiates with respect to x0_hat; `Stage.pull_back` carries that gradient through
the network, one vector-Jacobian product whatever the number of draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guidebench.errors import ConfigError

DrawLoss = Callable[[Tensor], Tensor]
"""Clean samples (n, b, ...) -> losses (n, b); every entry depends on its own sample alone."""

Draws = Literal["independent", "antithetic", "stratified"]


@dataclass(frozen=True)
class Likelihood:
    """What an estimator found; constants of x_t in log p(y | x_t) are left out.

    Args:
        log_p: log p(y | x_t), (b,).
        grad: its gradient with respect to x0_hat, (b, ...).
        ess: effective number of draws, 1 / sum of squared weights, (b,).
    """

    log_p: Tensor
    grad: Tensor
    ess: Tensor


def at_point(loss: DrawLoss, x0_hat: Tensor) -> Likelihood:
    """p(x_0 | x_t) as a point mass: log p = -l(x0_hat)  (DPS; LGD, eq. 8)."""
    return monte_carlo(loss, x0_hat, torch.zeros_like(x0_hat)[None], 0.0)


def monte_carlo(
    loss: DrawLoss, x0_hat: Tensor, noise: Tensor, spread: float | Tensor, chunk: int | None = None
) -> Likelihood:
    r"""p(x_0 | x_t) as N(x0_hat, r^2 I): log p = logsumexp_i(-l(x_i)) - log n, x_i = x0_hat + r e_i  (LGD, eq. 9).

    Its gradient is -sum_i w_i grad l(x_i) with w = softmax_i(-l(x_i)). Draws are taken in chunks with a running maximum
    (an online softmax), so memory is that of one chunk and the result does not depend on its size.

    Args:
        loss: the loss, with its weight inside: it acts as a temperature, not as a factor of the gradient.
        x0_hat: one-step estimate, (b, ...).
        noise: standard normal e, (n, b, ...); of its own for every sample and stage.
        spread: r, a number or something that broadcasts against x0_hat.
        chunk: draws evaluated at once; None = all.

    Raises:
        ConfigError: the loss does not return one number per sample.
    """
    x0_hat, n = x0_hat.detach(), len(noise)
    highest = x0_hat.new_full(x0_hat.shape[:1], -torch.inf)
    total, squares, grad = torch.zeros_like(highest), torch.zeros_like(highest), torch.zeros_like(x0_hat)
    for some in noise.split(chunk or n):
        with torch.enable_grad():
            leaf = x0_hat.clone().requires_grad_()
            log_p = -_checked(loss(leaf + spread * some), some)
        new_highest = torch.maximum(highest, log_p.detach().amax(0)).to(highest)
        kept, weights = torch.exp(highest - new_highest), torch.exp(log_p.detach() - new_highest)
        (added,) = torch.autograd.grad(log_p, leaf, weights)
        total, squares = kept * total + weights.sum(0), kept**2 * squares + weights.square().sum(0)
        grad, highest = rowwise(kept, grad) * grad + added, new_highest
    n_eff = total**2 / squares
    return Likelihood(highest + torch.log(total / n), grad / rowwise(total, grad), n_eff)


def draw_noise(normal: Callable[[int], Tensor], n: int, draws: Draws) -> Tensor:
    """n standard normal draws per sample, (n, b, ...).

    "antithetic" draws come in pairs e, -e (one without a partner where n is odd). "stratified" ones split every
    coordinate's range into n parts of equal probability, each hit once, in an order of its own (Latin hypercube).

    Args:
        normal: gives n independent draws, (n, b, ...).
        n: their number.
        draws: how they depend on each other.
    """
    match draws:
        case "independent":
            return normal(n)
        case "antithetic":
            half = normal((n + 1) // 2)
            return torch.cat([half, -half])[:n]
        case "stratified":
            # The ranks of n draws are a random order, independent of which numbers were drawn.
            order, within = normal(n).argsort(0).argsort(0), torch.special.ndtr(normal(n).double())
            return torch.special.ndtri((order + within.clamp(1e-12, 1 - 1e-12)) / n).to(within.dtype)
    raise ConfigError(
        f"method.draws: got {draws!r}; allowed are 'independent', 'antithetic' and 'stratified'"
    )


def rowwise(values: Tensor, like: Tensor) -> Tensor:
    """(b,) shaped to broadcast against (b, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _checked(losses: Tensor, draws: Tensor) -> Tensor:
    if losses.shape != draws.shape[:2]:
        raise ConfigError(
            f"loss: got shape {tuple(losses.shape)} for {draws.shape[0]} draws of {draws.shape[1]} samples; return one "
            "number per sample, (b,), never a mean over the batch"
        )
    return losses
