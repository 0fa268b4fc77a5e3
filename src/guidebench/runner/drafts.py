"""Drafts: what unfinished loops hold, kept on disk by the clock, so that a process that dies loses minutes, not hours.

All loops of one piece of work share a file. Each has an address: "0/" is the first loop, "1/" the one that follows it,
"0/2/" the third loop within the present step of the first. What a file holds fits together: a loop stands there as it
was before its present step, which runs again, with the loops that have ended or begun within that step; of a loop
that has ended it is the last step.
"""

import dataclasses
import hashlib
import json
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.progress import Counter, Progress
from guidebench.runner.sealing import write_atomically


@dataclasses.dataclass(frozen=True)
class Kept:
    """A loop as it stood before a step.

    Args:
        step: the step.
        costs: what each counter that the loop began with had counted.
        state: the loop's state, copies on the CPU.
    """

    step: int
    costs: tuple[Cost, ...]
    state: Mapping[str, Tensor]


class Draft(Progress):
    """Progress that is kept in a file.

    Args:
        path: of the file; written when the first save is due.
        identity: of the work; a file of another identity is set aside.
        every: seconds between saves.
        aside: folder where damaged and foreign files are moved to.
        clock: seconds, for tests.

    Attributes:
        spent: seconds that interrupted runs spent on what was read back.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        every: float,
        aside: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.path, self.identity, self.every, self.aside = path, identity, every, aside
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self.spent = 0.0
        self._read()
        self._open = [_Loop("", {}, ())]
        self._began = self._saved = clock()
        self._signal: int | None = None

    @property
    def seconds(self) -> float:
        """Time spent on the work so far, that of interrupted runs included."""
        return self.spent + self._clock() - self._began

    def steps(self, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        outer = self._open[-1]
        loop = _Loop(f"{outer.address}{outer.inner}/", state, tuple(self.counters))
        outer.inner += 1
        kept = self._kept.get(loop.address)
        if kept is not None and not loop.restore(kept):
            self._set_aside()
            kept = None
        first = kept.step if kept else 0
        self._open.append(loop)
        try:
            with self._signals_wait():
                for step in range(first, n):
                    if step > first:
                        self._forget_loops_within(loop.address)
                    loop.begin(step)
                    if step == n - 1:
                        self._kept[loop.address] = loop.kept()
                    self._save_when_due()
                    yield step
                self._save_when_due()
        finally:
            self._open.remove(loop)
            kept = self._kept.get(loop.address)
            if kept is None or kept.step != loop.step:  # left by a break: it begins again from what is kept
                self._forget_loops_within(loop.address)

    def adopt(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Let the first loop begin at a step with what another program left, unless it is kept here already."""
        self._kept.setdefault(
            "0/", Kept(step, (), {name: tensor.cpu().clone() for name, tensor in state.items()})
        )

    def remove(self) -> None:
        """Forget the draft: the work is done."""
        shutil.rmtree(self.path.parent, ignore_errors=True)

    # -- the file --------------------------------------------------------------------------------------------------

    def _save_when_due(self) -> None:
        if self._signal or self._clock() - self._saved >= self.every:
            self._save()
        if self._signal:
            number, self._signal = self._signal, None
            signal.raise_signal(number)

    def _save(self) -> None:
        """Write every loop that has ended or is open; not where an outer loop's state is no longer what it was."""
        for loop in self._open[1:]:
            kept = self._kept.get(loop.address)
            if kept is None or kept.step != loop.step:
                if loop.has_moved:
                    return
                self._kept[loop.address] = loop.kept()
        tensors = {f"{a}:{name}": t for a, kept in self._kept.items() for name, t in kept.state.items()}
        loops = {
            a: {"step": kept.step, "costs": [dataclasses.astuple(cost) for cost in kept.costs]}
            for a, kept in self._kept.items()
        }
        about = json.dumps({"identity": self.identity, "seconds": self.seconds, "loops": loops})
        write_atomically(self.path, save(tensors, {"draft": about, "sha256": _checksum(about, tensors)}))
        self._saved = self._clock()

    def _read(self) -> None:
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about, checksum = file.metadata()["draft"], file.metadata()["sha256"]
            content = json.loads(about)
            if checksum != _checksum(about, tensors) or content["identity"] != self.identity:
                raise ValueError(f"{self.path}: damaged, or of other work")
        except FileNotFoundError:
            return
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            self._set_aside()
            return
        self.spent = content["seconds"]
        for address, loop in content["loops"].items():
            state = {
                name.partition(":")[2]: t for name, t in tensors.items() if name.partition(":")[0] == address
            }
            self._kept[address] = Kept(loop["step"], tuple(Cost(*cost) for cost in loop["costs"]), state)

    def _set_aside(self) -> None:
        """Move the file away; the work begins anew."""
        self.aside.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.rename(self.aside / f"draft_{self.identity}_{uuid.uuid4().hex[:8]}.safetensors")
        self._kept.clear()

    def _forget_loops_within(self, address: str) -> None:
        for inner in [a for a in self._kept if a.startswith(address) and a != address]:
            del self._kept[inner]

    # -- signals ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _signals_wait(self) -> Iterator[None]:
        """While the outermost loop runs, the first Ctrl-C or SIGTERM waits for the end of the step."""
        if len(self._open) > 2 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def restore() -> None:
            for number in list(before):
                signal.signal(number, before.pop(number))

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number
            restore()  # so that a second one acts at once

        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note) or signal.SIG_DFL
        try:
            yield
        finally:
            restore()


class _Loop:
    """A loop that is open.

    Args:
        address: of the loop.
        state: the caller's, which steps replace and write into.
        counters: those there were when the loop began.
    """

    def __init__(self, address: str, state: dict[str, Tensor], counters: tuple[Counter, ...]) -> None:
        self.address, self.state, self.counters = address, state, counters
        self._names = frozenset(state)
        self.begin(0)

    def begin(self, step: int) -> None:
        """Note how the loop stands before a step."""
        if self.state.keys() != self._names:
            changed = ", ".join(sorted(self.state.keys() ^ self._names))
            raise ValueError(
                f"the state of a loop must have the same names at every step; {changed} came or went before step {step}"
            )
        self.step, self.inner = step, 0
        self._tensors = dict(self.state)
        self._versions = {name: _version(tensor) for name, tensor in self._tensors.items()}
        self._costs = tuple(counter.cost for counter in self.counters)

    @property
    def has_moved(self) -> bool:
        """Whether a tensor has been written into since the step began."""
        return any(_version(tensor) != self._versions[name] for name, tensor in self._tensors.items())

    def kept(self) -> Kept:
        """The loop as it stood before the present step; what `has_moved` cannot be asked for."""
        copies = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
            for name, tensor in self._tensors.items()
        }
        return Kept(self.step, self._costs, copies)

    def restore(self, kept: Kept) -> bool:
        """Put back what was kept, as the caller's own tensors lie: device, strides, whether a gradient is wanted.

        Returns:
            Whether it is this loop's; else nothing has changed.
        """
        if kept.state.keys() != self.state.keys() or len(kept.costs) != len(self.counters):
            return False
        for name, own in self.state.items():
            there = kept.state[name]
            alike = own if own.shape == there.shape else torch.empty(there.shape, device=own.device)
            tensor = torch.empty_like(alike, dtype=there.dtype, requires_grad=False).copy_(there)
            self.state[name] = tensor.requires_grad_(own.requires_grad)
        for counter, cost in zip(self.counters, kept.costs, strict=True):
            counter.cost = cost
        return True


def _version(tensor: Tensor) -> object:
    """Changes whenever the tensor is written into; always, where inference mode made it, since such do not tell."""
    return object() if tensor.is_inference() else tensor._version


def _checksum(about: str, tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
