"""One stage of a chain with its graph: the unit every reverse sweep is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.gradients.base import ChainGradient, ChainRun
from guidebench.samplers.base import State, cond_at, noise_at


@dataclass(frozen=True)
class StageGraph:
    """The graph of update(state, eps_model(query(state))) from fresh leaves.

    Args:
        leaves: members of the state before the stage.
        others: what else the stage depends on and is differentiated.
        new: the state after the stage, attached to the graph.
    """

    leaves: State
    others: tuple[Tensor, ...]
    new: State

    @classmethod
    def record(cls, inputs: "Differentiated", state: State, k: int) -> "StageGraph":
        """Evaluate stage k with gradients on. Cost: 1 forward."""
        with torch.enable_grad():
            leaves = tuple(s.detach().requires_grad_() for s in state)
            new = inputs.run.stage(leaves, k)
        return cls(leaves, inputs.at(k), new)

    @classmethod
    def record_linear(cls, inputs: "Differentiated", state: State, k: int) -> "StageGraph":
        """The same with the network's prediction taken as a constant. Cost: 1 forward."""
        run, chain = inputs.run, inputs.run.chain
        with torch.no_grad():
            eps = run.eps(*chain.query(state, k), k)
        with torch.enable_grad():
            leaves = tuple(s.detach().requires_grad_() for s in state)
            noise = noise_at(chain, run.noises, k)
            new = chain.update(leaves, eps, k, noise)
        return cls(leaves, (noise,) if noise is not None and noise.requires_grad else (), new)

    @property
    def after(self) -> State:
        """The state after the stage, detached."""
        return tuple(s.detach() for s in self.new)

    def pull(self, cotangent: State, inputs: "Differentiated") -> State:
        """The cotangent before the stage; what else is differentiated is added to `inputs`. Cost: 1 backward."""
        grads = scaled_vjp(self.new, (*self.leaves, *self.others), cotangent, per_row=not inputs.run.params)
        inputs.add(self.others, grads[len(self.leaves) :])
        return grads[: len(self.leaves)]


def scaled_vjp(
    outputs: State, inputs: Sequence[Tensor], cotangent: State, *, per_row: bool
) -> tuple[Tensor, ...]:
    """Vector-Jacobian products of a cotangent brought near 1 by powers of two, which are undone afterwards.

    A network in half precision would flush small cotangents to zero; a power of two changes no other digit.

    Args:
        outputs: tensors (b, ...) of the graph.
        inputs: what to differentiate; zeros are returned where the graph does not reach.
        cotangent: like `outputs`.
        per_row: every input is (b, ...) and each row gets its own power; otherwise (parameters) one for the batch.
    """
    peak = torch.stack([c.detach().abs().flatten(1).amax(1) for c in cotangent]).amax(0)
    if not per_row:
        peak = peak.amax().expand_as(peak)
    least = math.frexp(torch.finfo(peak.dtype).tiny)[1]  # the inverse of what is smaller would be infinite
    exponent = torch.where(peak > 0, torch.frexp(peak).exponent.clamp_min(least), 0)
    scale = torch.ldexp(torch.ones_like(peak), -exponent)

    def over_rows(x: Tensor) -> Tensor:
        return scale.view(-1, *(1,) * (x.ndim - 1)) if per_row else scale[0]

    # As the gradient of a scalar: `grad_outputs` would import torch's symbolic shapes, seconds at first use.
    with torch.enable_grad():
        dots = [(out * (c * over_rows(c))).sum() for out, c in zip(outputs, cotangent, strict=True)]
        scalar = torch.stack(dots).sum()
    grads = torch.autograd.grad(scalar, inputs, allow_unused=True)
    return tuple(
        torch.zeros_like(x) if g is None else (g / over_rows(g)).to(g.dtype)
        for g, x in zip(grads, inputs, strict=True)
    )


class Differentiated:
    """What is differentiated besides the state, and the sums of its gradients during a reverse sweep.

    Args:
        run: the run.
    """

    def __init__(self, run: ChainRun) -> None:
        self.run = run
        self._sums: dict[int, Tensor] = {}

    def at(self, k: int, *, with_noise: bool = True) -> tuple[Tensor, ...]:
        """The tensors that stage k depends on and that require grad."""
        noise = self.run.noises[k] if with_noise and self.run.noises is not None else None
        found = [x for x in (cond_at(self.run.cond, k), noise) if x is not None and x.requires_grad]
        return (*found, *self.run.params)

    def add(self, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
        """Accumulate the gradients of one stage."""
        for x, g in zip(inputs, grads, strict=True):
            self._sums[id(x)] = self._sums[id(x)] + g if id(x) in self._sums else g

    def _of(self, x: Tensor) -> Tensor:
        return self._sums.get(id(x), torch.zeros_like(x))

    def result(self, value: Tensor, final: State, state_grad: State) -> ChainGradient:
        """The sums, in the shapes they were asked in."""
        cond = self.run.cond
        cond_grad: Tensor | tuple[Tensor | None, ...] | None
        if cond is None or isinstance(cond, Tensor):
            cond_grad = None if cond is None or not cond.requires_grad else self._of(cond)
        else:
            cond_grad = tuple(self._of(c) if c.requires_grad else None for c in cond)
        return ChainGradient(
            value=value,
            state=tuple(s.detach() for s in final),
            state_grad=tuple(g.detach() for g in state_grad),
            cond_grad=cond_grad,
            params_grad=tuple(self._of(p) for p in self.run.params),
            noises_grad=tuple(
                None if w is None or not w.requires_grad else self._of(w) for w in self.run.noises or ()
            ),
        )
