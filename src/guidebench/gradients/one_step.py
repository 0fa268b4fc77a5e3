"""The one-step estimate: the floor that every gradient through a chain must beat."""

from dataclasses import dataclass

import torch

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.prediction import Prediction
from guidebench.gradients.base import (
    ChainGradient,
    ChainRun,
    GradientStrategy,
    StateObjective,
    value_and_cotangent,
)
from guidebench.gradients.stage import Differentiated, scaled_vjp
from guidebench.samplers.base import Chain


@dataclass(frozen=True)
class OneStepEstimate(GradientStrategy):
    """Replace the chain by one jump, x0_hat = (x_T - sigma_T eps_hat(x_T, T)) / alpha_T, and differentiate that.

    `value` and `state` are those of the jump, not of the chain, which is never run.

    Cost: 1 forward and 1 backward. Memory: one network graph.

    References: the Tweedie estimate of Chung et al. 2023 (DPS), taken at T.
    """

    is_exact = False
    paper = "Chung et al. 2023, Diffusion Posterior Sampling"

    def cost(self, chain: Chain) -> Cost:
        """1 forward, 1 backward."""
        return Cost(nfe_fwd=1, nfe_bwd=1)

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`; noises play no part."""
        inputs, chain = Differentiated(run), run.chain
        others = inputs.at(0, with_noise=False)
        with torch.enable_grad():
            leaves = tuple(s.detach().requires_grad_() for s in run.state)
            x_t, t = chain.query(leaves, 0)
            eps = run.eps(x_t, t, 0)
            alpha_t, sigma_t = chain.schedule.alpha(t), chain.schedule.sigma(t)
            final = chain.ended(Prediction.of_told(eps, x_t, alpha_t, sigma_t).x0)
        value, cotangent = value_and_cotangent(objective, final)
        grads = scaled_vjp(final, (*leaves, *others), cotangent, per_row=not run.params)
        inputs.add(others, grads[len(leaves) :])
        return inputs.result(value, final, grads[: len(leaves)])
