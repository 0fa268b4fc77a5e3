"""Who is told how the work goes on: a command's progress bar, or nobody."""

from collections.abc import Sequence

from guidebench.diffusion.cost import Cost
from guidebench.runner.store import Record


class Watch:
    """Told of every step; this one is silent."""

    def starting(self, work: Sequence[tuple[int, Cost]]) -> None:
        """Generation begins.

        Args:
            work: missing samples and cost per sample, per job.
        """

    def job(self, name: str, cost: Cost) -> None:
        """A job is under way, whose samples were announced to cost this."""

    def advance(self, records: Sequence[Record]) -> None:
        """Samples were stored."""

    def tell(self, what: str) -> None:
        """Something else is under way."""

    def done(self) -> None:
        """Nothing more will be told."""
