"""Samplers as ask and tell.

A `Sampler` holds hyper-parameters. Bound to a schedule it gives a `Chain`: pure algebra over an explicit grid of
times, cut into *stages* of exactly one network evaluation each. The whole of sampling is

    for k in range(chain.n_stages):
        x_t, t = chain.query(state, k)               # ask: where is the network evaluated?
        eps = eps_model(x_t, t, cond)                # the caller's business: guidance, precision, gradients
        state = chain.update(state, eps, k, noise)   # tell: linear algebra

and that loop is `sample`. Nothing here draws random numbers or switches gradients off.

API:
    times = sampler.times(schedule)                        the grid, N + 1 explicit times
    chain = sampler.chain(schedule)                        or sampler.chain(schedule, times=times[10:]): a sub-chain
    state = chain.init(schedule.prior_std * z)             z standard normal, (b, ...)
    state = sample(chain, eps_model, state, cond=cond, noises=draw_noises(chain, draw))  # draw() -> normal (b, ...)
    x_0 = chain.output(state)                              EDICT: `state` is the pair (x, y)
    state_T = invert(chain, eps_model, chain.init(x_0))    EDICT: exact inversion
    sampler.chain(schedule, times=times[::-1])             DDIM, DPM-Solver: approximate inversion, run with `sample`
    chain.times[k] is the time of stage k where `nfe_per_step == 1`; chain.query(state, k)[1] always is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from guidebench.diffusion.grids import Grid, Leading, check_times
from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import ConfigError

State = tuple[Tensor, ...]
"""What a chain carries from stage to stage: (x,) for DDIM, (x, y) for EDICT."""

Conditioning = Tensor | Sequence[Tensor] | None
"""(b, ...) for every stage, or one such tensor per stage, or none."""

Noises = Sequence[Tensor | None]
"""One entry per stage: standard normal (b, ...), or None where the stage adds no noise."""

EpsModel = Callable[[Tensor, float, Tensor | None], Tensor]
"""(x_t (b, ...), t, cond) -> eps_hat (b, ...): noise prediction, guidance included; rows are independent.

Where alpha_t = 0, x_t is the noise, and it is x0_hat that is returned (`Prediction.told`); the coefficients of a
chain's stage there, its gain included, are those of x0_hat.
"""

OnStage = Callable[[int, State], None]
"""Called with (k, state) after stage k, to watch or to check; must not change the state."""


class Chain(ABC):
    """The algebra of one sampling run.

    Attributes:
        schedule: the noise schedule the coefficients come from.
        times: the grid, descending; sampling starts at times[0] and ends at times[-1].
        n_stages: number of network evaluations per sample.
        noise_power: the factor k = 1 + eta^2 of the eps term in the reverse process: 1 for an ODE, 2 for the SDE.
        n_members: coupled copies of the sample that the state consists of; 1 where it is anything else.
    """

    schedule: NoiseSchedule
    times: tuple[float, ...]
    n_stages: int
    noise_power: float = 1.0
    n_members: int = 1

    def init(self, x_T: Tensor) -> State:
        """The state at times[0] from x_T (b, ...)."""
        return (x_T,)

    @abstractmethod
    def query(self, state: State, k: int) -> tuple[Tensor, float]:
        """Where stage k asks the network: (x_t, t)."""

    @abstractmethod
    def update(self, state: State, eps: Tensor, k: int, noise: Tensor | None = None) -> State:
        """The state after stage k, given eps = eps_hat(*query(state, k)).

        Args:
            state: before the stage.
            eps: predicted noise at the query, (b, ...); the predicted sample where alpha_t = 0.
            k: the stage.
            noise: standard normal (b, ...) where `needs_noise(k)`.
        """

    def output(self, state: State) -> Tensor:
        """The sample x_0 (b, ...) at the end of the chain."""
        return state[0]

    def samples(self, state: State) -> tuple[Tensor, ...]:
        """All samples x_0 that the end of the chain holds, each (b, ...): the output, and its coupled copies."""
        return (self.output(state),)

    def ended(self, x_0: Tensor) -> State:
        """A state at the end of the chain all of whose samples are x_0, (b, ...)."""
        return (x_0,)

    def needs_noise(self, k: int) -> bool:
        """Whether `update` adds noise at stage k."""
        return False

    def step_of(self, k: int) -> int:
        """The step of the grid that stage k belongs to: from times[step_of(k)] to the time after it."""
        return k

    def gain(self, k: int) -> float:
        """d x_u / d eps of the first-order step of stage k: adding c / gain(k) to eps moves the step by c."""
        step = self.step_of(k)
        return self.schedule.transfer(self.times[step], self.times[step + 1])[1]

    @abstractmethod
    def rewind(self, after: State, step: int, noise: Tensor) -> State:
        """A state at the start of a step, drawn from the forward process given the one after it ("time travel").

        It remembers nothing of earlier steps: fresh noise makes their predictions those of another path.

        Args:
            after: the state at the end of the step.
            step: index of the grid's step.
            noise: standard normal (b, ...).
        """

    def _noised(self, x_u: Tensor, step: int, noise: Tensor) -> Tensor:
        """x_t ~ q(x_t | x_u) = N(r x_u, sigma_t^2 - r^2 sigma_u^2), r = alpha_t / alpha_u, of the grid's step."""
        t, u = self.times[step], self.times[step + 1]
        r = self.schedule.alpha(t) / self.schedule.alpha(u)
        return r * x_u + math.sqrt(self.schedule.sigma(t) ** 2 - (r * self.schedule.sigma(u)) ** 2) * noise


class ReversibleChain(Chain):
    """A chain whose every stage can be undone exactly, at one evaluation of the network."""

    @abstractmethod
    def query_after(self, state: State, k: int) -> tuple[Tensor, float]:
        """What stage k asked, found from the state *after* it."""

    @abstractmethod
    def undo(self, state: State, eps: Tensor, k: int) -> State:
        """The state before stage k from the one after it, given eps at `query_after(state, k)`."""


@dataclass(frozen=True)
class Sampler(ABC):
    """Hyper-parameters of a sampler; `chain` binds them to a schedule.

    Args:
        n_steps: number of steps N of the grid.
        grid: rule that places the N + 1 times.

    Attributes:
        order: order of convergence (strong order for a stochastic sampler).
        is_stochastic: whether noise is added on the way.
        is_reversible: whether its chains are `ReversibleChain`s.
        nfe_per_step: network evaluations per step and sample.
        paper: where it comes from.
    """

    n_steps: int = 50
    grid: Grid = field(default_factory=Leading)

    order: ClassVar[int]
    is_stochastic: ClassVar[bool] = False
    is_reversible: ClassVar[bool] = False
    nfe_per_step: ClassVar[int] = 1
    paper: ClassVar[str]

    def times(self, schedule: NoiseSchedule) -> tuple[float, ...]:
        """The grid on `schedule`, N + 1 times, most noisy first."""
        return self.grid(schedule, self.n_steps)

    def chain(self, schedule: NoiseSchedule, times: Sequence[float] | None = None) -> Chain:
        """The algebra over `times` (default: the whole grid; pass a slice to start or end elsewhere).

        Raises:
            ConfigError: the times are not strictly ordered, or this sampler cannot run on them.
        """
        return self._bind(schedule, check_times(self.times(schedule) if times is None else times))

    @abstractmethod
    def _bind(self, schedule: NoiseSchedule, times: tuple[float, ...]) -> Chain:
        """The chain over checked times."""


def cond_at(cond: Conditioning, k: int) -> Tensor | None:
    """The conditioning of stage k."""
    return cond if cond is None or isinstance(cond, Tensor) else cond[k]


def noise_at(chain: Chain, noises: Noises | None, k: int) -> Tensor | None:
    """The noise of stage k.

    Raises:
        ConfigError: the stage needs noise and none was given.
    """
    if not chain.needs_noise(k):
        return None
    noise = None if noises is None else noises[k]
    if noise is None:
        raise ConfigError(
            f"sampler: stage {k} of {type(chain).__name__} adds noise; pass noises=draw_noises(chain, ...)"
        )
    return noise


def draw_noises(chain: Chain, draw: Callable[[], Tensor]) -> tuple[Tensor | None, ...]:
    """One draw per stage that adds noise, in order.

    Args:
        chain: the chain.
        draw: gives standard normal (b, ...) on each call.
    """
    return tuple(draw() if chain.needs_noise(k) else None for k in range(chain.n_stages))


def sample(
    chain: Chain,
    eps_model: EpsModel,
    state: State,
    *,
    cond: Conditioning = None,
    noises: Noises | None = None,
    on_stage: OnStage | None = None,
) -> State:
    """Run every stage. Cost: `chain.n_stages` evaluations per sample.

    Args:
        chain: the algebra.
        eps_model: the guided noise prediction.
        state: `chain.init(x_T)`.
        cond: conditioning, constant or per stage.
        noises: noise of the stochastic stages, see `draw_noises`.
        on_stage: called with (k, state) after each stage.
    """
    for k in range(chain.n_stages):
        x_t, t = chain.query(state, k)
        state = chain.update(state, eps_model(x_t, t, cond_at(cond, k)), k, noise_at(chain, noises, k))
        if on_stage is not None:
            on_stage(k, state)
    return state


def invert(chain: Chain, eps_model: EpsModel, state: State, *, cond: Conditioning = None) -> State:
    """Undo every stage of a reversible chain: from the end of sampling to its start.

    Cost: `chain.n_stages` evaluations per sample. Run in float32 or better: where the chain mixes two members,
    undoing expands their difference.

    Args:
        chain: a `ReversibleChain`.
        eps_model: the guided noise prediction.
        state: the final state; for an image, `chain.init(x_0)`.
        cond: conditioning, constant or per stage.

    Raises:
        ConfigError: the chain cannot be undone.
    """
    if not isinstance(chain, ReversibleChain):
        raise ConfigError(
            f"sampler: {type(chain).__name__} cannot be undone exactly; choose sampler=edict, or invert "
            "approximately with sampler.chain(schedule, times=times[::-1])"
        )
    for k in reversed(range(chain.n_stages)):
        x_t, t = chain.query_after(state, k)
        state = chain.undo(state, eps_model(x_t, t, cond_at(cond, k)), k)
    return state
