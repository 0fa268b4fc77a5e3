"""The progress bar of generation: ETA by network evaluations, seconds per image, evaluations and failures so far."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.status import Status

from guidebench.diffusion.cost import Cost
from guidebench.runner.store import Record
from guidebench.runner.watch import Watch


class GenerationProgress(Watch):
    """Follows the missing samples of some jobs; work is weighed by network evaluations (a backward counts two).

    Args:
        console: where it draws.
        name: of what is made.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._samples = self._done = self._failed = self._nfe = 0
        self._seconds = 0.0
        self._cost = Cost()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._status: Status | None = None

    def starting(self, work: Sequence[tuple[int, Cost]]) -> None:
        self._end_status()
        self._samples = sum(n for n, _ in work)
        if not self._samples:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[counts]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        total = sum(n * _weight(cost) for n, cost in work)
        self._task = self._bar.add_task("generating", total=total, counts=f"0/{self._samples}")
        self._bar.start()

    def job(self, name: str, cost: Cost) -> None:
        self._cost = cost
        if self._bar:
            self._bar.update(self._task, description=name)

    def advance(self, records: Sequence[Record]) -> None:
        self._done += len(records)
        self._failed += sum(record.status == "failed" for record in records)
        self._seconds += sum(record.seconds for record in records)
        self._nfe += sum(record.nfe_fwd + record.nfe_bwd for record in records)
        counts = (
            f"{self._done}/{self._samples}, {self._seconds / self._done:.2f} s/image, "
            f"NFE {self._nfe}, {self._failed} failed"
        )
        if self._bar:
            self._bar.update(self._task, advance=len(records) * _weight(self._cost), counts=counts)

    def tell(self, what: str) -> None:
        if self._bar:
            self._bar.update(self._task, description=what)
            return
        text = f"{self._name}: {what}"
        if self._status:
            self._status.update(text)
        else:
            self._status = self._console.status(text)
            self._status.start()

    def done(self) -> None:
        self._end_status()
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _end_status(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _weight(cost: Cost) -> int:
    return cost.nfe_fwd + 2 * cost.nfe_bwd
