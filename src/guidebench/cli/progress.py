"""The progress bar of generation: ETA by network evaluations, seconds per image, evaluations and failures so far."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from guidebench.diffusion.cost import Cost
from guidebench.runner.store import Record


class GenerationProgress:
    """Follows the missing samples of some jobs; work is weighed by network evaluations (a backward counts two).

    Args:
        console: where it draws.
        work: missing samples and cost per sample, per job.
    """

    def __init__(self, console: Console, work: Sequence[tuple[int, Cost]]) -> None:
        self._samples = sum(n for n, _ in work)
        self._done = self._failed = self._nfe = 0
        self._seconds = 0.0
        self._cost = Cost()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[counts]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not any(n for n, _ in work),
        )
        total = sum(n * _weight(cost) for n, cost in work)
        self._task = self._bar.add_task("generating", total=total, counts=f"0/{self._samples}")

    def job(self, text: str, cost: Cost) -> None:
        """Say which job is under way, and what each of its samples was announced to cost."""
        self._cost = cost
        self._bar.update(self._task, description=text)

    def advance(self, records: Sequence[Record]) -> None:
        """Count newly stored samples."""
        self._done += len(records)
        self._failed += sum(record.status == "failed" for record in records)
        self._seconds += sum(record.seconds for record in records)
        self._nfe += sum(record.nfe_fwd + record.nfe_bwd for record in records)
        counts = (
            f"{self._done}/{self._samples}, {self._seconds / self._done:.2f} s/image, "
            f"NFE {self._nfe}, {self._failed} failed"
        )
        self._bar.update(self._task, advance=len(records) * _weight(self._cost), counts=counts)

    def __enter__(self) -> "GenerationProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _weight(cost: Cost) -> int:
    return cost.nfe_fwd + 2 * cost.nfe_bwd
