"""Which people are morphed with whom."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

from guidebench.data.morphs.gallery import Gallery, Person
from guidebench.errors import DataError
from guidebench.models.readers.face_recognition import FaceRecogniser
from guidebench.models.readers.portraits import embeddings
from guidebench.problems import Morph

Pair = tuple[Person, Person]


class PairRule(ABC):
    """Says who is morphed with whom."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Which rule; tables say it."""

    @abstractmethod
    def pairs(self, gallery: Gallery) -> list[Pair]:
        """The pairs, most wanted first."""


class MostSimilar(PairRule):
    """Within each group, the pairs whose neutral pictures a recogniser finds most similar; the groups take turns.

    Cosines are compared to four decimals and ties broken by name, so that the pairs are the same on every device.

    Args:
        recogniser: compares (SYN-MAD: ElasticFace).
        per_group: pairs of each group (SYN-MAD: 250 women and 250 men, of whom 489 were kept in the end).

    References: Huber et al., "SYN-MAD 2022: Competition on Face Morphing Attack Detection Based on Privacy-aware
    Synthetic Training Data", IJCB 2022, Sec. 3.
    """

    def __init__(self, recogniser: FaceRecogniser, per_group: int = 250) -> None:
        self.recogniser, self.per_group = recogniser, per_group

    @property
    def name(self) -> str:
        return f"{self.per_group} most similar pairs per group, by {self.recogniser.network_id}"

    def pairs(self, gallery: Gallery) -> list[Pair]:
        people = gallery.people()
        embedded = embeddings(self.recogniser, [p.neutral for p in people])
        cosines = (embedded.double() @ embedded.double().T).tolist()
        ranked: dict[str, list[tuple[float, str, str, Pair]]] = {}
        for i, j in combinations(range(len(people)), 2):
            a, b = people[i], people[j]
            if a.group == b.group:
                ranked.setdefault(a.group, []).append((-round(cosines[i][j], 4), a.name, b.name, (a, b)))
        best = [
            [found[3] for found in sorted(group)[: self.per_group]] for _, group in sorted(ranked.items())
        ]
        turns = range(max(map(len, best), default=0))
        return [group[turn] for turn in turns for group in best if turn < len(group)]


class ListedPairs(PairRule):
    """Pairs of a file: one line per pair, separated by commas, without a heading; what follows the second is ignored.

    People are named as in the gallery, or by the path of a picture whose file name begins with that name (SYN-MAD's
    and Greedy-DiM's way: `neutral_front/001_03.jpg,neutral_front/010_03.jpg,...`).

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return f"pairs of {Path(self.path).name}"

    def pairs(self, gallery: Gallery) -> list[Pair]:
        people = {person.name: person for person in gallery.people()}
        try:
            lines = list(csv.reader(Path(self.path).expanduser().read_text().splitlines()))
        except OSError as error:
            raise DataError(f"dataset.rule.path: {self.path} cannot be read: {error}.") from error
        found = []
        for number, line in enumerate(filter(None, lines), start=1):
            names = [Path(cell.strip()).stem.split("_")[0] for cell in line[:2]]
            unknown = [name for name in names if name not in people]
            if unknown or len(names) < 2:
                raise DataError(
                    f"dataset.rule.path: line {number} of {self.path} names {', '.join(names) or 'nobody'}; two people "
                    f"of the {gallery.name} are needed, such as {', '.join(sorted(people)[:2])}."
                )
            found.append((people[names[0]], people[names[1]]))
        return found


class ConsecutivePairs(PairRule):
    """Everybody with the next in the gallery: no network is needed."""

    name: str = "consecutive pairs"

    def pairs(self, gallery: Gallery) -> list[Pair]:
        people = gallery.people()
        return list(pairwise(people))


class Morphs:
    """Pairs of people to morph.

    Args:
        gallery: the people.
        rule: who is morphed with whom.
        limit: the first n pairs; null takes all.
    """

    paper: str = "after SYN-MAD 2022"

    def __init__(self, gallery: Gallery, rule: PairRule, limit: int | None = None) -> None:
        self.gallery, self.rule, self.limit = gallery, rule, limit

    @property
    def gives(self) -> tuple[str, ...]:
        """Fields that all problems have."""
        one = self.gallery.people()[0]
        known = [*(["landmarks"] if one.landmarks else []), *(["traits"] if one.traits else [])]
        return tuple(
            f"{name}_{side}" if name else side for name in ("", "identity", "other", *known) for side in "ab"
        )

    def problems(self, seeds: Sequence[int]) -> list[Morph]:
        """Every pair with every seed, pairs outermost.

        Raises:
            DataError: the pictures or the list of pairs cannot be read.
        """
        pairs = self.rule.pairs(self.gallery)[: self.limit]
        return [
            Morph(
                f"{a.name}-{b.name}",
                seed,
                *(a.neutral, b.neutral, a.name, b.name, a.smiling, b.smiling),
                *(a.landmarks, b.landmarks, a.traits, b.traits),
            )
            for a, b in pairs
            for seed in seeds
        ]
