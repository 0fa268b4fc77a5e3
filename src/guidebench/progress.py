"""The one loop of everything that takes many steps, so that one mechanism resumes them all."""

from collections.abc import Iterator

from torch import Tensor


class Progress:
    """Hands out the steps of a loop. This one keeps nothing; the runner's own saves and restores the state.

    for k in setup.progress.steps(n_opt, state):     # state: what step k reads and replaces, by name
        streams.begin(k)
        state["x_T"] = ...
    """

    def steps(self, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        """The steps 0 .. n - 1, from the first that `state` does not hold yet.

        Args:
            n: number of steps.
            state: everything that one step hands to the next; where an earlier run was interrupted, its tensors are
                put here before the first step.
        """
        yield from range(n)
