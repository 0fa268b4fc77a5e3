"""Whether a recogniser takes a morph for both people: MMPMR, morphing attack potential, and what they rest on."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.face_recognition import FaceRecogniser, match_threshold
from guidebench.models.readers.portraits import embeddings
from guidebench.pixels import to_tensor
from guidebench.problems import Picture, Problem, field


class Gallery(Protocol):
    """People who were portrayed twice."""

    @property
    def name(self) -> str:
        """Says which pictures."""

    def pictures(self) -> Sequence[Picture]:
        """Everybody's neutral picture, then everybody's smiling one in the same order."""


def impostor_scores(recogniser: FaceRecogniser, gallery: Gallery) -> Tensor:
    """Cosines of every person's neutral picture with every other person's smiling one, (n (n - 1),), float64."""
    neutral, smiling = embeddings(recogniser, gallery.pictures()).double().chunk(2)
    return (neutral @ smiling.T)[~torch.eye(len(neutral), dtype=torch.bool)]


class FaceMatch(Metric):
    """What metrics of one recogniser share: its threshold, and a morph's similarity to both people.

    Args:
        recogniser: judges; must not be the one that guided.
        gallery: the people whose cross pairs set the threshold.
        false_match_rate: share of them that the threshold lets pass.
        reference: which picture stands for a person: "source", the one that was morphed, or "other", the one with
            another expression, which is harder. The paper does not say which.

    Cost: one forward of the recogniser per image and picture; the gallery once per process.
    """

    paper: str = "AdjointDEIS, Sec. 5"
    higher_is_better: bool = True

    def __init__(
        self,
        recogniser: FaceRecogniser,
        gallery: Gallery,
        false_match_rate: float = 0.001,
        reference: Literal["source", "other"] = "source",
    ) -> None:
        if reference not in ("source", "other"):
            raise ConfigError(f"metric.reference: got {reference!r}; allowed are 'source' and 'other'")
        self.recogniser, self.gallery, self.false_match_rate = recogniser, gallery, false_match_rate
        self.reference = reference
        self.reads = ("a", "b") if reference == "source" else ("other_a", "other_b")

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.recogniser,)

    @property
    def protocol(self) -> str:
        return (
            f"{self.recogniser.network_id}; cosine above the threshold at FMR {100 * self.false_match_rate:g} % on "
            f"all cross pairs, neutral x smiling, of the {self.gallery.name}; {self.reference} pictures"
        )

    @property
    def threshold(self) -> float:
        """The cosine above which two pictures count as one person."""
        return match_threshold(impostor_scores(self.recogniser, self.gallery), self.false_match_rate)

    def similarities(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        """Cosines with both people, (b, 2), float64."""
        return similarities(self.recogniser, images, problems, self.reads)

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        return self.judged(images, problems)

    @abstractmethod
    def judged(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        """One number per sample, (b,)."""


def similarities(
    recogniser: FaceRecogniser, images: Tensor, problems: Sequence[Problem], fields: Sequence[str]
) -> Tensor:
    """Cosines of images (b, 3, H, W) with the pictures of two fields of their problems, (b, 2), float64."""
    embedded = recogniser.embed(images).double()
    people = [
        recogniser.embed(
            to_tensor([p.load() for p in field(problems, name, "metric")], images.device)
        ).double()
        for name in fields
    ]
    return torch.stack([(embedded * person).sum(1) for person in people], dim=1)


class MMPMR(FaceMatch):
    """100 where the morph matches both people, else 0; the mean is the mated morph presentation match rate in percent.

    A match is a cosine strictly above the threshold.

    References: Scherhag et al., "Biometric Systems under Morphing Attacks: Assessment of Morphing Techniques and
    Vulnerability Reporting", BIOSIG 2017, eq. 7.
    """

    unit: str = "%"

    def judged(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        return 100.0 * (self.similarities(images, problems).amin(dim=1) > self.threshold)


class ParentSimilarity(FaceMatch):
    """The cosine with the person whom the morph resembles less (or with one of them).

    Args:
        parent: "worse", "a" or "b"; others as of `FaceMatch`.
    """

    unit: str = ""

    def __init__(
        self,
        recogniser: FaceRecogniser,
        gallery: Gallery,
        false_match_rate: float = 0.001,
        reference: Literal["source", "other"] = "source",
        parent: Literal["worse", "a", "b"] = "worse",
    ) -> None:
        super().__init__(recogniser, gallery, false_match_rate, reference)
        self.parent = parent

    @property
    def protocol(self) -> str:
        return (
            f"{self.recogniser.network_id}; cosine with the {self.reference} picture of parent {self.parent}"
        )

    def judged(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        cosines = self.similarities(images, problems)
        return cosines.amin(dim=1) if self.parent == "worse" else cosines[:, "ab".index(self.parent)]


class MatchThreshold(FaceMatch):
    """The threshold itself, stored with every sample it judged: the same number for all samples of a set."""

    unit: str = ""

    def judged(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        return torch.full((len(images),), self.threshold, dtype=torch.float64)


class MorphingAttackPotential(Metric):
    """100 where at least `systems` recognisers match the morph with at least `attempts` pictures of each person.

    One cell MAP[r, c] of the matrix; pictures of a person are the morphed one and the one with another expression, so
    r is 1 or 2.

    Args:
        recognisers: judge; none of them may have guided.
        gallery: sets each recogniser's threshold.
        attempts: r.
        systems: c.
        false_match_rate: of every threshold.

    References: Ferrara et al., "Morphing Attack Potential", IWBF 2022.
    """

    paper: str = "Ferrara et al. 2022"
    reads: tuple[str, ...] = ("a", "b", "other_a", "other_b")
    higher_is_better: bool = True
    unit: str = "%"

    def __init__(
        self,
        recognisers: Sequence[FaceRecogniser],
        gallery: Gallery,
        attempts: int = 1,
        systems: int = 2,
        false_match_rate: float = 0.001,
    ) -> None:
        if not 1 <= attempts <= 2 or not 1 <= systems <= len(recognisers):
            raise ConfigError(
                f"metric: attempts={attempts}, systems={systems}; allowed are 1 or 2 attempts and 1 to "
                f"{len(recognisers)} systems"
            )
        self.recognisers, self.gallery = list(recognisers), gallery
        self.attempts, self.systems, self.false_match_rate = attempts, systems, false_match_rate

    @property
    def readers(self) -> tuple[Reader, ...]:
        return tuple(self.recognisers)

    @property
    def protocol(self) -> str:
        return (
            f"MAP[{self.attempts}, {self.systems}] of {', '.join(r.network_id for r in self.recognisers)}; FMR "
            f"{100 * self.false_match_rate:g} % on the {self.gallery.name}"
        )

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        passed = [self._passes(recogniser, images, problems) for recogniser in self.recognisers]
        return 100.0 * (torch.stack(passed).sum(dim=0) >= self.systems)

    def _passes(self, recogniser: FaceRecogniser, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        """Whether a recogniser is deceived about both people, (b,)."""
        threshold = match_threshold(impostor_scores(recogniser, self.gallery), self.false_match_rate)
        matches = [
            similarities(recogniser, images, problems, fields) > threshold
            for fields in (("a", "b"), ("other_a", "other_b"))
        ]
        return (torch.stack(matches).sum(dim=0) >= self.attempts).all(dim=1)
