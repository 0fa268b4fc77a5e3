"""What everything that is learned once declares."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from guidebench.models.base import DiffusionModel
from guidebench.models.readers.base import Reader
from guidebench.progress import Progress


@dataclass(frozen=True)
class Learned:
    """What learning left.

    Args:
        weights: what is kept, by name; on any device.
        history: how it went: curves by name, each (steps,).
    """

    weights: Mapping[str, Tensor]
    history: Mapping[str, Tensor] = field(default_factory=dict)


class Artefact(ABC):
    """Something that a method needs and that is learned once, with the model frozen.

    A method takes it as a parameter, declares "artefact" among its `uses`, and asks `setup.learned(name)` for the
    weights. The runner learns what is missing before the first sample that needs it. Its recipe is its identity: this
    configuration with the revision of its classes, the model, and the weights and pictures that `fingerprint` names;
    so a sample's identity is known before anything is learned. Constructors take hyper-parameters and data only.

    What is learned for one problem alone (a field, a token for one picture) is no artefact but a part of its sample.

    Subclasses declare, as a literal:
        paper: where it comes from.
    """

    paper: ClassVar[str]

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The networks beside the model that it is learned with."""
        return ()

    def fingerprint(self) -> str:
        """Identifies what it is learned from beside configuration and model; whoever learns from data names it here."""
        return " ".join(reader.fingerprint() for reader in self.readers) or "none"

    def load(self, device: torch.device) -> None:
        """Read the networks."""
        for reader in self.readers:
            reader.load(device)

    @abstractmethod
    def learn(self, model: DiffusionModel, progress: Progress) -> Learned:
        """Learn it, on the model's device.

        Every loop goes through `progress.steps`, and whatever is drawn in a step comes from a generator that is keyed
        by the step (`diffusion.random.generator`), so that an interrupted run ends with the same bits.

        Args:
            model: loaded and frozen.
            progress: hands out the steps.
        """
