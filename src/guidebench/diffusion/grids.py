"""Sampling grids: explicit descending times t_0 > t_1 > … > t_N, the network being asked at all but the last.

A `Grid` is a rule (a YAML node of a sampler); `grid(schedule, n_steps)` is the tuple of N + 1 times. The last time is
where sampling ends: the schedule's clean time, or its least noisy time `t_min` (for Stable Diffusion's tables, whose
"final alpha" is alpha_bar at index 0); it may equal the time before it, a step that moves nothing.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from guidebench.diffusion.schedules import NoiseSchedule, TableSchedule
from guidebench.errors import ConfigError

Final = Literal["t_min", "clean"]
"""Where sampling ends: the least noisy time of the schedule or clean data."""


class Grid(ABC):
    """A rule that turns a schedule and a number of steps into explicit times."""

    @abstractmethod
    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """The n_steps + 1 times, most noisy first."""


def check_times(times: Sequence[float]) -> tuple[float, ...]:
    """The grid of a chain: strictly monotone (descending to sample, ascending to invert), a repeated last time dropped.

    Raises:
        ConfigError: fewer than two distinct times, or an order that is not strict.
    """
    grid = tuple(float(t) for t in times)
    if len(grid) > 1 and grid[-1] == grid[-2]:
        grid = grid[:-1]
    if len(grid) < 2:
        raise ConfigError(f"sampler.grid: {tuple(times)} holds no step; give at least two distinct times")
    signs = {np.sign(u - t) for t, u in pairwise(grid)}
    if len(signs) != 1 or 0.0 in signs:
        raise ConfigError(
            f"sampler.grid: times {grid} are not strictly ordered; use fewer steps, or list distinct times"
        )
    return grid


def _final_time(schedule: NoiseSchedule, final: Final) -> float:
    if final not in ("t_min", "clean"):
        raise ConfigError(f"sampler.grid.final: got {final!r}; allowed are 't_min' and 'clean'")
    return schedule.t_min if final == "t_min" else schedule.t_clean


def _table(schedule: NoiseSchedule, grid: Grid) -> TableSchedule:
    if not isinstance(schedule, TableSchedule):
        raise ConfigError(
            f"sampler.grid: {type(grid).__name__} counts table indices, but the schedule is {schedule!r}"
        )
    return schedule


def _check_count(n_steps: int, n_timesteps: int) -> None:
    if not 1 <= n_steps <= n_timesteps:
        raise ConfigError(f"sampler.n_steps: got {n_steps}; allowed are 1 … {n_timesteps}")


def _check_signal(schedule: NoiseSchedule, grid: Grid) -> None:
    if schedule.alpha(schedule.t_max) == 0.0:
        raise ConfigError(
            f"sampler.grid: {type(grid).__name__} spaces noise levels, and {schedule!r} begins in pure noise, whose "
            "level is infinite; set sampler.grid._target_ to guidebench.diffusion.grids.Linspace or Shifted"
        )


def _on_table(schedule: NoiseSchedule, times: NDArray[np.float64]) -> tuple[float, ...]:
    """Times rounded to indices where the schedule is a table."""
    rounded = np.round(times) if isinstance(schedule, TableSchedule) else times
    return tuple(float(t) for t in rounded)


@dataclass(frozen=True)
class Leading(Grid):
    """offset + i (n_timesteps // N), the spacing of DDIM and Stable Diffusion.

    N = 50 with offset 0 gives 980, 960, …, 20, 0 and then `final`; offset 1, the hub configs of SD-1.x, 981 … 1.

    Args:
        offset: added to every index (diffusers' `steps_offset`).
        final: "t_min" = `set_alpha_to_one: false`, as in Stable Diffusion; "clean" otherwise.

    Raises:
        ConfigError: the first index is beyond the table.

    Warns:
        UserWarning: the first index is in the table's first three quarters, as with fewer than 4 steps or more than
            half as many as the table has: pure noise does not belong there.
    """

    offset: int = 0
    final: Final = "t_min"

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        table = _table(schedule, self)
        _check_count(n_steps, table.n_timesteps)
        times = np.arange(n_steps)[::-1] * (table.n_timesteps // n_steps) + self.offset
        begin = (
            f"sampler.n_steps: {n_steps} steps of a leading grid with offset {self.offset} begin at index "
            f"{times[0]} of {table.n_timesteps}"
        )
        instead = "sampler.grid._target_=guidebench.diffusion.grids.Trailing ~sampler.grid.offset"
        if times[0] >= table.n_timesteps:
            raise ConfigError(f"{begin}, beyond its last; set sampler.grid.offset=0, or {instead}")
        if times[0] < 0.75 * table.n_timesteps:
            warnings.warn(
                f"{begin}, in the middle of the chain, and yet from pure noise; choose another number, or {instead}",
                UserWarning,
                stacklevel=2,
            )
        return (*map(float, times), _final_time(schedule, self.final))


@dataclass(frozen=True)
class Trailing(Grid):
    """round(n_timesteps - i n_timesteps / N) - 1: starts at the very last index.

    Args:
        final: as in `Leading`.

    References: Lin et al. 2024, table 2.
    """

    final: Final = "t_min"

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        table = _table(schedule, self)
        _check_count(n_steps, table.n_timesteps)
        times = np.round(np.arange(table.n_timesteps, 0, -table.n_timesteps / n_steps))[:n_steps] - 1
        return (*map(float, times), _final_time(schedule, self.final))


@dataclass(frozen=True)
class Linspace(Grid):
    """Evenly spaced times from t_max; rounded to indices on a table.

    Args:
        final: "t_min": N + 1 points down to t_min (DPM-Solver, DiM and AdjointDEIS: 999, 949, …, 50, 0 for N = 20);
            "clean": N points down to t_min and then the clean time (diffusers' DDIM with `linspace`).
    """

    final: Final = "t_min"

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        if self.final == "t_min":
            return _on_table(schedule, np.linspace(schedule.t_max, schedule.t_min, n_steps + 1))
        times = np.linspace(schedule.t_max, schedule.t_min, n_steps)
        return (*_on_table(schedule, times), _final_time(schedule, self.final))


@dataclass(frozen=True)
class Shifted(Grid):
    """N even times from t_max, of which more than half are noisier than the middle, and then the clean time.

    A time at the share r of the way from clean to t_max moves to shift r / (1 + (shift - 1) r): what keeps the noise
    level that a picture *looks* to have when it gets more pixels.

    Args:
        shift: 3 in Stable Diffusion 3, e^mu in FLUX; 1 leaves the times even.
        last: share at which the last of the N times lies before it is shifted; null = 1 / N.

    References: Esser et al. 2024 (Stable Diffusion 3), eq. 23.
    """

    shift: float = 3.0
    last: float | None = None

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        shares = np.linspace(1.0, 1.0 / n_steps if self.last is None else self.last, n_steps)
        shares = self.shift * shares / (1.0 + (self.shift - 1.0) * shares)
        clean = schedule.t_clean
        return (*_on_table(schedule, clean + shares * (schedule.t_max - clean)), clean)


@dataclass(frozen=True)
class Quadratic(Grid):
    """t_min + (t_max - t_min) (1 - i/N)^2: steps shrink towards the data; rounded to indices on a table."""

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        span = np.linspace(1.0, 0.0, n_steps + 1) ** 2
        return _on_table(schedule, schedule.t_min + (schedule.t_max - schedule.t_min) * span)


@dataclass(frozen=True)
class UniformLambda(Grid):
    """Evenly spaced in half log-SNR from t_max to t_min.

    Args:
        on_table: round to indices where the schedule is a table; otherwise fractional times are kept.
    """

    on_table: bool = True

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        _check_signal(schedule, self)
        lams = np.linspace(schedule.lam(schedule.t_max), schedule.lam(schedule.t_min), n_steps + 1)
        inner = [schedule.time_of_lam(float(lam)) for lam in lams[1:-1]]
        times = np.array([schedule.t_max, *inner, schedule.t_min])
        return _on_table(schedule, times) if self.on_table else tuple(map(float, times))


@dataclass(frozen=True)
class Karras(Grid):
    """N noise levels sigma/alpha evenly spaced to the power 1/rho, then `final`.

    Args:
        rho: 7 in the paper; larger puts more steps near the data.
        final: where the last step leads.

    References: Karras et al. 2022, eq. 5.
    """

    rho: float = 7.0
    final: Final = "clean"

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        _check_signal(schedule, self)
        high = schedule.sigma(schedule.t_max) / schedule.alpha(schedule.t_max)
        low = schedule.sigma(schedule.t_min) / schedule.alpha(schedule.t_min)
        ramp = np.linspace(high ** (1 / self.rho), low ** (1 / self.rho), n_steps) ** self.rho
        inner = [schedule.time_of_lam(-float(np.log(level))) for level in ramp[1:-1]]
        ends = (schedule.t_max, schedule.t_min) if n_steps > 1 else (schedule.t_max,)
        return (ends[0], *inner, *ends[1:], _final_time(schedule, self.final))


@dataclass(frozen=True)
class Explicit(Grid):
    """Times listed by hand; `n_steps` must agree with their number.

    Args:
        times: N + 1 times, most noisy first.
    """

    times: tuple[float, ...]

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> tuple[float, ...]:
        """See the class."""
        if len(self.times) != n_steps + 1:
            raise ConfigError(
                f"sampler.grid.times: {len(self.times)} times for n_steps = {n_steps}; list n_steps + 1 of them"
            )
        return tuple(float(t) for t in self.times)
