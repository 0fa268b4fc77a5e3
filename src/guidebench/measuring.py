"""What a stretch of work takes: seconds, and bytes of tensors."""

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch


def now(device: torch.device) -> float:
    """Wall time behind all work on a GPU; processor time of this process on a CPU, whatever else the machine does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median of some runs after one that warms up."""
    times: list[float] = []
    for _ in range(repeats + 1):
        start = now(device)
        work()
        times.append(now(device) - start)
    return median(times[1:])


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """Bytes allocated at once while `work` runs, beyond those allocated before: every tensor, graphs included."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with _quiet():
        profiler.start()
    try:
        work()
    finally:
        with _quiet():
            profiler.stop()
    recorded: Any = profiler.profiler
    events = recorded.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    held = peak = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        held += size
        peak = max(peak, held)
    return peak


@contextmanager
def _quiet() -> Iterator[None]:
    """The profiler announces itself on the process's stderr, beyond Python's reach."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
