"""The optimiser of everything that is distilled: Adam with a decaying rate."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Descent:
    """Adam, whose rate decays along a cosine from `lr` to the share `end` of it, over `over` steps from `start` on.

        rate(k) = lr ((1 - end) (1 + cos(pi min(k - start, over) / over)) / 2 + end)

    Rows of a parameter never mix, so that a sample does not depend on its batch.

    Args:
        lr: learning rate.
        end: share of it that is left in the end; 1 for a constant rate.
        start: first step of the decay.
        over: steps that it takes.
        betas: Adam's.
        eps: Adam's.
    """

    def __init__(
        self,
        lr: float = 0.1,
        end: float = 1.0,
        start: int = 0,
        over: int = 1,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.lr, self.end, self.start, self.over = lr, end, start, over
        self.betas, self.eps = (betas[0], betas[1]), eps

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        done = min(max(step - self.start, 0), self.over) / self.over
        return self.lr * ((1 - self.end) * 0.5 * (1 + math.cos(math.pi * done)) + self.end)

    def optimizer(self, parameters: Mapping[str, Tensor], rates: Mapping[str, float]) -> "Optimizer":
        """Over parameters by name; `rates` are factors on the rate of those that have another."""
        return Optimizer(self, parameters, rates)


class Optimizer:
    """A `Descent` under way; `tensors` is all that it changes."""

    def __init__(
        self, descent: Descent, parameters: Mapping[str, Tensor], rates: Mapping[str, float]
    ) -> None:
        self._descent = descent
        groups = [{"params": [p], "factor": rates.get(name, 1.0)} for name, p in parameters.items()]
        self._adam = torch.optim.Adam(groups, lr=descent.lr, betas=descent.betas, eps=descent.eps)
        self.tensors = dict(parameters)
        for (
            name,
            parameter,
        ) in parameters.items():  # as Adam begins, but before the first step: a draft names them
            moments = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
            self._adam.state[parameter] = moments
            self.tensors |= {f"adam.{name}.{key}": moment for key, moment in moments.items()}

    def descend(self, loss: Tensor, step: int) -> None:
        """One step down a scalar."""
        for group in self._adam.param_groups:
            group["lr"] = group["factor"] * self._descent.rate(step)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        self._adam.step()
