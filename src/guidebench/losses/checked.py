"""The one check of what losses return: their shape, their graph, and where their randomness comes from."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidebench.errors import ConfigError


def checked(objective: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    """An objective that refuses, in words, to return anything but one differentiable number per sample.

    Args:
        objective: samples (b, ...), and what else it takes -> losses (b,).
        name: of the loss, for messages.

    Returns:
        The same, raising `ConfigError` where a result is not of shape (b,), not of floating point or detached from
        samples that require a gradient, or where it was drawn from torch's global generator.
    """

    def evaluate(samples: Tensor, *others: Any) -> Tensor:
        before = _global_state(samples.device)
        losses = objective(samples, *others)
        fault = _fault(losses, samples)
        if fault:
            raise ConfigError(
                f"loss: {name} returned {fault}; return one number per sample, a tensor of shape ({len(samples)},)"
            )
        if not all(torch.equal(a, b) for a, b in zip(before, _global_state(samples.device), strict=True)):
            raise ConfigError(
                f"loss: {name} draws from torch's global generator, so that a sample would depend on its batch and on "
                "what ran before; draw from `streams`, one generator per sample, inside the objective"
            )
        return losses

    return evaluate


def _fault(losses: object, samples: Tensor) -> str:
    """What is wrong with the losses of some samples, with the way out; empty where nothing is."""
    if losses is None:
        return "None (is a `return` missing?)"
    if not isinstance(losses, Tensor):
        return f"a {type(losses).__name__}, which has no gradient; compute it from the samples by torch"
    b, shape = len(samples), tuple(losses.shape)
    if not losses.is_floating_point():
        return f"{losses.dtype}, which has no gradient"
    if shape == ():
        return "a single number for the whole batch, on which each sample would depend; drop its mean or sum"
    if shape == (b, 1):
        return f"shape ({b}, 1); drop its last axis by [:, 0]"
    if shape != (b,):
        return f"shape {shape} for {b} samples; sum or average over all axes but the first"
    if samples.requires_grad and torch.is_grad_enabled() and not losses.requires_grad:
        return "losses that are detached from the samples; compute them without detach(), item(), numpy() and no_grad()"
    return ""


def _global_state(device: torch.device) -> tuple[Tensor, ...]:
    """The states of torch's global generators that a loss on a device may draw from."""
    cpu = torch.get_rng_state()
    return (cpu, torch.cuda.get_rng_state(device)) if device.type == "cuda" else (cpu,)
