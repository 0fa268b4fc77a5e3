"""The one loop of everything that takes many steps, so that one mechanism resumes them all."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from guidebench.diffusion.cost import Cost


class Counter(Protocol):
    """Something that counts network evaluations: a guided model, a counted network."""

    cost: Cost


class Progress:
    """Hands out the steps of a loop. This one keeps nothing; the runner's own saves and restores the state.

    for k in setup.progress.steps(n_opt, state):     # state: what step k reads and replaces, by name
        streams.begin(k)
        state["x_T"] = ...
        state["loss"][:, k] = ...                    # curves too: what is not in the state is lost

    Loops may follow one another and stand within one another. What comes before, between and after them runs again
    when a run is resumed, and so does the last step of a loop that had ended.

    Attributes:
        counters: what counts network evaluations; a resumed loop puts their counts back. `Setup.guided` adds its own.
    """

    def __init__(self) -> None:
        self.counters: list[Counter] = []

    def steps(self, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        """The steps 0 .. n - 1, from the first that `state` does not hold yet.

        Args:
            n: number of steps.
            state: everything that one step hands to the next, under the same names throughout; where an earlier run
                was interrupted, its tensors are put here before the first step.
        """
        yield from range(n)
