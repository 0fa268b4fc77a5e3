"""Cost in network evaluations: counted, not claimed.

counted = CountedModel(eps_model, rows=2)   # classifier-free guidance: two network rows per sample
... use `counted` wherever `eps_model` went ...
counted.cost                                # Cost(nfe_fwd=..., nfe_bwd=...)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Cost:
    """Network evaluations per sample; guided predictions count twice (conditional and unconditional).

    Args:
        nfe_fwd: forward evaluations.
        nfe_bwd: backward evaluations (vector-Jacobian products).
    """

    nfe_fwd: int = 0
    nfe_bwd: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.nfe_fwd + other.nfe_fwd, self.nfe_bwd + other.nfe_bwd)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.nfe_fwd - other.nfe_fwd, self.nfe_bwd - other.nfe_bwd)


class CountedModel:
    """A network call that counts its forwards, and its backwards when they truly happen.

    Args:
        fn: the call; returns a tensor (b, ...).
        rows: network rows per sample in one call (2 with classifier-free guidance).
    """

    def __init__(self, fn: Callable[..., Tensor], rows: int = 1) -> None:
        self.fn, self.rows = fn, rows
        self.cost = Cost()

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Evaluate `fn`; a hook on the output counts its backward."""
        out = self.fn(*args, **kwargs)
        self.cost += Cost(nfe_fwd=self.rows)
        if out.requires_grad:
            out.register_hook(self._count_backward)
        return out

    def _count_backward(self, grad: Tensor) -> None:
        self.cost += Cost(nfe_bwd=self.rows)
