"""Backpropagation through the whole graph: the truth, and the memory hog."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.gradients.base import ChainGradient, GradientStrategy, Objective
from guidebench.gradients.stage import Differentiated
from guidebench.samplers.base import Chain, Conditioning, EpsModel, Noises, OnStage, State, sample


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

    def value_and_grad(
        self,
        chain: Chain,
        eps_model: EpsModel,
        state: State,
        objective: Objective,
        *,
        cond: Conditioning = None,
        params: Sequence[Tensor] = (),
        noises: Noises | None = None,
        on_stage: OnStage | None = None,
    ) -> ChainGradient:
        """See `GradientStrategy`."""
        inputs = Differentiated(cond, params, noises)
        with torch.enable_grad():
            leaves = tuple(s.detach().requires_grad_() for s in state)
            final = sample(chain, eps_model, leaves, cond=cond, noises=noises, on_stage=on_stage)
            value = objective(final)
            total = value.sum()
        others = list({id(x): x for k in range(chain.n_stages) for x in inputs.at(k)}.values())
        grads = torch.autograd.grad(total, [*leaves, *others], allow_unused=True)
        filled = [
            torch.zeros_like(x) if g is None else g for g, x in zip(grads, [*leaves, *others], strict=True)
        ]
        inputs.add(others, filled[len(leaves) :])
        return inputs.result(value.detach(), final, tuple(filled[: len(leaves)]))
