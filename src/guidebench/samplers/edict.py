"""EDICT: exactly invertible sampling with two coupled latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from guidebench.diffusion.grids import Leading, check_times
from guidebench.diffusion.schedules import NoiseSchedule, TableSchedule
from guidebench.errors import ConfigError
from guidebench.samplers.base import ReversibleChain, Sampler, State


@dataclass(frozen=True)
class HalfStep:
    """One member moves by the other's prediction: s[mover] <- a s[mover] + b eps_hat(s[1 - mover], t).

    Args:
        mover: 0 for x, 1 for y.
        t: time of the network.
        a, b: the DDIM coefficients of the step.
        mixings: how often the pair is mixed afterwards.
    """

    mover: int
    t: float
    a: float
    b: float
    mixings: int


class EDICTChain(ReversibleChain):
    """Two half-steps per DDIM step t -> u, then a mixing that draws the members together.

    With (a, b) of the step and q = 1 - p; x moves first in even steps, y in odd ones:

        x <- a x + b eps_hat(y, t);   y <- a y + b eps_hat(x, t)         (odd: y first)
        x <- p x + q y;               y <- p y + q x                    (always in this order, with the new x)

    The state is the pair (x, y). The member that is asked is unchanged by the half-step, so each half-step can be
    undone with the very evaluation that made it. Steps are counted from the start of *this* chain.

    Args:
        schedule: the noise schedule.
        times: N + 1 times.
        half_steps: the stages.
        p: mixing weight.
    """

    n_members = 2

    def __init__(
        self, schedule: NoiseSchedule, times: tuple[float, ...], half_steps: Sequence[HalfStep], p: float
    ) -> None:
        self.schedule, self.times, self.half_steps, self.p = schedule, times, tuple(half_steps), p
        self.n_stages = len(self.half_steps)

    def init(self, x_T: Tensor) -> State:
        """(x_T, x_T)."""
        return (x_T, x_T)

    def samples(self, state: State) -> tuple[Tensor, ...]:
        """Both members."""
        return state

    def ended(self, x_0: Tensor) -> State:
        """(x_0, x_0)."""
        return (x_0, x_0)

    def query(self, state: State, k: int) -> tuple[Tensor, float]:
        """The member that does not move."""
        half = self.half_steps[k]
        return state[1 - half.mover], half.t

    def update(self, state: State, eps: Tensor, k: int, noise: Tensor | None = None) -> State:
        """Move one member, then mix."""
        half = self.half_steps[k]
        moved = half.a * state[half.mover] + half.b * eps
        pair = (moved, state[1]) if half.mover == 0 else (state[0], moved)
        for _ in range(half.mixings):
            pair = self.mix(pair)
        return pair

    def query_after(self, state: State, k: int) -> tuple[Tensor, float]:
        """The member that did not move, unmixed."""
        return self.query(self._unmix_all(state, k), k)

    def undo(self, state: State, eps: Tensor, k: int) -> State:
        """Unmix, then move the member back: (s - b eps) / a."""
        half = self.half_steps[k]
        pair = self._unmix_all(state, k)
        moved = (pair[half.mover] - half.b * eps) / half.a
        return (moved, pair[1]) if half.mover == 0 else (pair[0], moved)

    def step_of(self, k: int) -> int:
        """Two half-steps to a step."""
        return k // 2

    def rewind(self, after: State, step: int, noise: Tensor) -> State:
        """Both members noised, by the same noise."""
        return (self._noised(after[0], step, noise), self._noised(after[1], step, noise))

    def mix(self, pair: State) -> tuple[Tensor, Tensor]:
        """x' = p x + q y, y' = p y + q x'."""
        p, q = self.p, 1.0 - self.p
        x = p * pair[0] + q * pair[1]
        return x, p * pair[1] + q * x

    def unmix(self, pair: State) -> tuple[Tensor, Tensor]:
        """y = (y' - q x') / p, x = (x' - q y) / p."""
        p, q = self.p, 1.0 - self.p
        y = (pair[1] - q * pair[0]) / p
        return (pair[0] - q * y) / p, y

    def _unmix_all(self, state: State, k: int) -> State:
        for _ in range(self.half_steps[k].mixings):
            state = self.unmix(state)
        return state


@dataclass(frozen=True)
class EDICT(Sampler):
    """Exact diffusion inversion via coupled transformations, as DOODL uses it.

    Cost: 2 evaluations per step (the last step of the leading grid moves nothing and costs nothing).

    Args:
        n_steps: number of steps.
        grid: placement of the times.
        p: mixing weight in (0, 1], or None for 0.93^(50/N); 1 leaves the members uncoupled by mixing. Undoing N
            steps expands the members' difference by p^(-2N).
        alternate: let y move first in odd steps ("leapfrog").
        skip_trivial_step: do not evaluate the network where b = 0 (times ending in 0, 0); the mixing still applies.

    Raises:
        ConfigError: p outside (0, 1]; a leading grid with offset 0 whose N does not divide the table; ascending times.

    References: Wallace et al. 2023a (EDICT), eq. 12–15; Wallace et al. 2023b (DOODL), eq. 5–6, Algorithm 1.
    Differs from the paper: `alternate` is in the official code and in neither paper's equations; without it the
        official images are not reproduced. The official code also evaluates the network in the last, trivial step.
    """

    p: float | None = 0.93
    alternate: bool = True
    skip_trivial_step: bool = True

    order = 1
    is_reversible = True
    nfe_per_step = 2
    paper = "Wallace et al. 2023, EDICT: Exact Diffusion Inversion via Coupled Transformations"

    def __post_init__(self) -> None:
        if self.p is not None and not 0.0 < self.p <= 1.0:
            raise ConfigError(f"sampler.p: got {self.p}; allowed is 0 < p <= 1 (the paper's is 0.93)")

    @property
    def mixing_weight(self) -> float:
        """p, or for p = None the weight whose N mixings contract the members as the paper's 50 do: p^N = 0.93^50."""
        return 0.93 ** (50 / self.n_steps) if self.p is None else self.p

    def times(self, schedule: NoiseSchedule) -> tuple[float, ...]:
        """The grid, N + 1 times.

        Raises:
            ConfigError: the official code's steps disagree with each other for this N.
        """
        leading = isinstance(self.grid, Leading) and self.grid.offset == 0
        if leading and isinstance(schedule, TableSchedule) and schedule.n_timesteps % self.n_steps:
            raise ConfigError(
                f"sampler.n_steps: EDICT's leading grid needs a divisor of {schedule.n_timesteps}, got "
                f"{self.n_steps}; use 10, 20, 25, 40 or 50, or another sampler.grid (linspace, trailing)"
            )
        return super().times(schedule)

    def chain(self, schedule: NoiseSchedule, times: Sequence[float] | None = None) -> EDICTChain:
        """The stages over `times`; a repeated last time is a step that only mixes."""
        full = self.times(schedule) if times is None else tuple(float(t) for t in times)
        checked = check_times(full)
        if checked[0] < checked[-1]:
            raise ConfigError(
                "sampler: EDICT runs on descending times; invert it with guidebench.samplers.base.invert"
            )
        return self._bind(schedule, full)

    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> EDICTChain:
        half_steps: list[HalfStep] = []
        for i, (t, u) in enumerate(pairwise(times)):
            a, b = schedule.transfer(t, u)
            if t == u and self.skip_trivial_step:
                last = half_steps[-1]
                half_steps[-1] = HalfStep(last.mover, last.t, last.a, last.b, last.mixings + 1)
                continue
            first = i % 2 if self.alternate else 0
            half_steps += [HalfStep(first, t, a, b, 0), HalfStep(1 - first, t, a, b, 1)]
        return EDICTChain(schedule, times, half_steps, self.mixing_weight)
