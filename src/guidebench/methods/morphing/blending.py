"""Blends of two codes."""

from typing import Literal

import torch
from torch import Tensor

Interpolation = Literal["slerp", "lerp"]
"""How two noises are blended: on the sphere, which keeps their norm, or on the line."""

_PARALLEL = 1e-6


def lerp(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """(1 - w) a + w b.

    Args:
        a: (b, ...).
        b: of the same shape.
        weight: w of each row, (b,), or of all.
    """
    w = _per_row(weight, a).to(a.dtype)
    return (1.0 - w) * a + w * b


def slerp(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    r"""[sin((1 - w) theta) a + sin(w theta) b] / sin theta, theta the angle between a and b as whole vectors.

    Each row has its own angle. Where a and b are parallel but for rounding, it is `lerp`, its limit.

    Args:
        a: (b, ...).
        b: of the same shape.
        weight: w of each row, (b,), or of all.

    References: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    """
    w = _per_row(weight, a)
    flat_a, flat_b = a.double().flatten(1), b.double().flatten(1)
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1)
    theta = _per_row(torch.arccos(cosine.clamp(-1.0, 1.0)), a)
    sine = theta.sin()
    parallel = sine < _PARALLEL
    safe = torch.where(parallel, torch.ones_like(sine), sine)
    of_a, of_b = ((1.0 - w) * theta).sin() / safe, (w * theta).sin() / safe
    of_a, of_b = torch.where(parallel, 1.0 - w, of_a), torch.where(parallel, w, of_b)
    return of_a.to(a.dtype) * a + of_b.to(b.dtype) * b


def blend(a: Tensor, b: Tensor, weight: Tensor | float, how: Interpolation) -> Tensor:
    """`slerp` or `lerp` of (b, ...)."""
    return slerp(a, b, weight) if how == "slerp" else lerp(a, b, weight)


def _per_row(value: Tensor | float, like: Tensor) -> Tensor:
    """One number per row of (b, ...), or one for all, shaped to broadcast against it; float64."""
    rows = torch.as_tensor(value, dtype=torch.float64, device=like.device)
    return rows.reshape(-1, *(1,) * (like.ndim - 1))
