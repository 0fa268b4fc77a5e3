"""A plain function as a loss: what `guidebench.sample` makes of a callable."""

import hashlib
import inspect
from collections.abc import Callable, Sequence

from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss, Objective
from guidebench.problems import Problem
from guidebench.samples import SampleKind


class FunctionLoss(Loss):
    """A function of samples, as it is.

    Args:
        function: differentiable, samples (b, ...) -> one number each, (b,); row i depends on row i alone. Images are
            about [0, 1], not clamped.
        kind: of the samples.
    """

    paper = "the user's own"

    def __init__(self, function: Callable[[Tensor], Tensor], kind: SampleKind = "image") -> None:
        self.function = function
        self.kind = kind  # type: ignore[misc]  # as a class's is declared

    def fingerprint(self) -> str:
        """Of the function's source; its name where there is none. What it refers to is no part."""
        try:
            text = inspect.getsource(self.function)
        except (OSError, TypeError):
            text = repr(self.function)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        return self.function
