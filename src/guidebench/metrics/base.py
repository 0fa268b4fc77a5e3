"""What every metric declares: those of single samples, and those of whole sets of samples."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from guidebench.models.readers.base import Reader
from guidebench.problems import Picture, Problem
from guidebench.samples import SampleKind

FloatArray = NDArray[np.float64]


class Measure(ABC):
    """What both kinds of metric declare; they see stored samples, never how a sample was made.

    Subclasses declare, as literals:
        paper: where the metric comes from.
        reads: fields of a problem that it needs; none where any problem will do.
        part: name of the part of a sample that it measures.
        kind: of that part.
        higher_is_better: direction of improvement.
        unit: of the value, for table headings.
    """

    paper: str
    reads: tuple[str, ...] = ()
    part: str = "sample"
    kind: ClassVar[SampleKind] = "image"
    higher_is_better: bool
    unit: str

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The networks inside; a guiding loss must not share them."""
        return ()

    def fingerprint(self) -> str:
        """Identifies the networks' weights: a value measured with others is another value."""
        return " ".join(reader.fingerprint() for reader in self.readers) or "none"

    def check(self, problems: Sequence[Problem]) -> None:  # noqa: B027
        """See that what was asked can be measured, before any sample is made.

        Raises:
            ConfigError, DataError: a problem cannot, such as a prompt that the judge cannot read; says what to do.
        """

    @property
    @abstractmethod
    def protocol(self) -> str:
        """All that two numbers must share to be comparable, in one line; stored beside every number."""


class Metric(Measure):
    """A measurement of single samples: one number each, which tables then average."""

    @abstractmethod
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        """Measures stored samples, without gradient.

        Args:
            images: the part of stored samples, as `kind` says: images (b, 3, H, W) in [0, 1].
            problems: what each sample was to solve, b of them.

        Returns:
            One finite number per sample, float (b,).
        """


class SetMetric(Measure):
    """A measurement of a whole set of samples, such as FID: a row of a table has one value, of all its samples.

    Each sample contributes a row of features, which is stored once, under `fingerprint` alone: metrics of equal
    fingerprint share them.

    Subclasses declare, as literals:
        value_only: parameters on which `value` depends and `features` does not.
    """

    value_only: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """What the value needs of each sample, without gradient.

        Args:
            images: samples as `kind` says: images (b, 3, H, W) in [0, 1].

        Returns:
            float (b, d).
        """

    @property
    def reference(self) -> Sequence[Picture]:
        """The real images that samples are compared with; none where there is no comparison."""
        return ()

    @abstractmethod
    def value(self, features: FloatArray, reference: FloatArray) -> float:
        """The value of n samples; it does not depend on their order.

        Args:
            features: (n, d).
            reference: (m, d), of `reference`.

        Returns:
            A number; NaN where n is too small for one.
        """

    def leaving_out(self, features: FloatArray, reference: FloatArray, codes: NDArray[np.intp]) -> FloatArray:
        """The values without each group of samples, which the jackknife asks for.

        Args:
            features: (n, d).
            reference: (m, d), of `reference`.
            codes: (n,) number of each sample's group, 0 to G - 1.

        Returns:
            (G,)
        """
        groups = range(int(codes.max()) + 1)
        return np.array([self.value(features[codes != group], reference) for group in groups])

    def caveat(self, n: int, d: int) -> str:
        """What must be said beside a value of n samples with features of dimension d; "" if nothing."""
        return ""


class ReferenceSet(Protocol):
    """Real images to compare with; a dataset that can name some."""

    @property
    def name(self) -> str:
        """Says which images: dataset, split, number, preprocessing."""

    def pictures(self) -> Sequence[Picture]:
        """The images."""
