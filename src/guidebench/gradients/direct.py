"""Backpropagation through the whole graph: the truth, and the memory hog."""

from dataclasses import dataclass

import torch

from guidebench.diffusion.cost import Cost
from guidebench.gradients.base import ChainGradient, ChainRun, GradientStrategy, StateObjective
from guidebench.gradients.stage import Differentiated
from guidebench.samplers.base import Chain


@dataclass(frozen=True)
class Direct(GradientStrategy):
    """One graph over all stages, one call of autograd.

    Cost: n forwards and n backwards for n stages. Memory: n network graphs at once.
    """

    is_exact = True
    paper = "reverse-mode differentiation"

    def cost(self, chain: Chain) -> Cost:
        """n forwards, n backwards."""
        return Cost(nfe_fwd=chain.n_stages, nfe_bwd=chain.n_stages)

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`."""
        inputs = Differentiated(run)
        with torch.enable_grad():
            leaves = tuple(s.detach().requires_grad_() for s in run.state)
            final = run.sample(leaves)
            value = objective(final)
            total = value.sum()
        others = list({id(x): x for k in range(run.chain.n_stages) for x in inputs.at(k)}.values())
        grads = torch.autograd.grad(total, [*leaves, *others], allow_unused=True)
        filled = [
            torch.zeros_like(x) if g is None else g for g, x in zip(grads, [*leaves, *others], strict=True)
        ]
        inputs.add(others, filled[len(leaves) :])
        return inputs.result(value.detach(), final, tuple(filled[: len(leaves)]))
