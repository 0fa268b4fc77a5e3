"""What every guidance loss declares."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.problems import Problem

Objective = Callable[[Tensor], Tensor]
"""Decoded samples (b, ...), images in [0, 1] -> losses (b,); row i depends on row i alone."""


class Loss(ABC):
    """A differentiable loss on decoded samples; constructors take hyper-parameters only.

    Subclasses declare, as literals:
        paper: where the loss comes from.
        handles: names of the problem classes.
    """

    paper: str
    handles: tuple[str, ...]

    @property
    @abstractmethod
    def networks(self) -> tuple[str, ...]:
        """Identifiers of the networks inside (their adapters' `network_id`); a metric must not share them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the networks' weights: a sample guided by other weights is another sample."""

    def load(self, device: torch.device) -> None:  # noqa: B027
        """Read the networks now instead of at the first evaluation; losses without networks need not."""

    @abstractmethod
    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        """Compute what depends on the problems alone (text embeddings, say) once and return the objective.

        Args:
            problems: the batch, b of them.
            streams: source of the augmentations' randomness, one stream per sample.
        """
