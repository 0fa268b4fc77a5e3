"""What every metric declares."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from guidebench.problems import Problem


class Metric(ABC):
    """A measurement of single images: one number per sample, which tables then average.

    Subclasses declare, as literals:
        paper: where the metric comes from.
        higher_is_better: direction of improvement.
        unit: of the value, for table headings.
    """

    paper: str
    higher_is_better: bool
    unit: str

    @property
    @abstractmethod
    def networks(self) -> tuple[str, ...]:
        """Identifiers of the networks inside (their adapters' `network_id`); a loss must not share them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the networks' weights or the rules: a value measured with others is another value."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """All that two numbers must share to be comparable, in one line; stored beside every number."""

    @abstractmethod
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        """Measures stored samples, without gradient.

        Args:
            images: (b, 3, H, W) in [0, 1].
            problems: what each image was to solve, b of them.

        Returns:
            One finite number per image, float (b,).
        """
