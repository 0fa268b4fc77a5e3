"""One-step samplers: x_u = a x_t + b eps_hat(x_t, t) + c xi. Their algebra is three coefficients per step."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.samplers.base import Chain, State


@dataclass(frozen=True)
class Step:
    """Coefficients of x_u = a x_t + b eps + c xi.

    Args:
        a: of x_t.
        b: of the predicted noise.
        c: of fresh noise; 0 where none is added.
    """

    a: float
    b: float
    c: float = 0.0


class AffineChain(Chain):
    """A chain of affine steps; the state is (x,).

    Args:
        schedule: the noise schedule.
        times: N + 1 times.
        steps: N steps.
        noise_power: 1 + eta^2.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        times: tuple[float, ...],
        steps: Sequence[Step],
        noise_power: float = 1.0,
    ) -> None:
        self.schedule, self.times, self.steps = schedule, times, tuple(steps)
        self.n_stages, self.noise_power = len(self.steps), noise_power

    def query(self, state: State, k: int) -> tuple[Tensor, float]:
        """(x, times[k])."""
        return state[0], self.times[k]

    def update(self, state: State, eps: Tensor, k: int, noise: Tensor | None = None) -> State:
        """a x + b eps + c noise."""
        step = self.steps[k]
        x = step.a * state[0] + step.b * eps
        return (x if noise is None else x + step.c * noise,)

    def needs_noise(self, k: int) -> bool:
        """c != 0."""
        return self.steps[k].c != 0.0

    def gain(self, k: int) -> float:
        """b."""
        return self.steps[k].b

    def rewind(self, after: State, step: int, noise: Tensor) -> State:
        """x noised."""
        return (self._noised(after[0], step, noise),)
