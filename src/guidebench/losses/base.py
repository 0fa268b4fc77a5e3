"""What every guidance loss declares."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.models.readers.base import Reader
from guidebench.problems import Problem
from guidebench.samples import SampleKind

Objective = Callable[[Tensor], Tensor]
"""Decoded samples (b, ...), images in [0, 1] -> losses (b,); row i depends on row i alone."""


NoisyObjective = Callable[[Tensor, float], Tensor]
"""Noisy samples x_t (b, ...) of the model's space and their time t -> losses (b,); row i depends on row i alone."""


class Loss(ABC):
    """A differentiable loss on decoded samples; constructors take hyper-parameters only.

    Subclasses declare, as literals:
        paper: where the loss comes from.
        reads: fields of a problem that it needs; none where any problem will do.
        kind: of the samples that it judges.
    """

    paper: str
    reads: tuple[str, ...] = ()
    kind: ClassVar[SampleKind] = "image"

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The networks inside; a metric must not share them."""
        return ()

    def fingerprint(self) -> str:
        """Identifies the networks' weights: a sample guided by other weights is another sample."""
        return " ".join(reader.fingerprint() for reader in self.readers) or "none"

    def load(self, device: torch.device) -> None:
        """Read the networks now instead of at the first evaluation."""
        for reader in self.readers:
            reader.load(device)

    @abstractmethod
    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        """Compute what depends on the problems alone (text embeddings, say) once and return the objective.

        Args:
            problems: the batch, b of them.
            streams: source of the augmentations' randomness, one stream per sample.
        """

    def bind_noisy(self, problems: Sequence[Problem], streams: RandomStreams) -> NoisyObjective:
        """As `bind`, for networks that were trained on noise: what classifier guidance is guided by.

        Raises:
            ConfigError: the loss has no such networks.
        """
        raise ConfigError(
            f"loss: {type(self).__name__} judges clean samples only, and method=classifier_guidance needs networks "
            "that were trained on noise; choose a loss with a noisy classifier, or a method that guides by clean "
            "estimates (lgd_mc, lgd_dps)"
        )
