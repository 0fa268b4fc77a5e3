"""Exact gradients through a reversible chain in constant memory: nothing is stored, states are recovered."""

from dataclasses import dataclass

import torch

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import (
    ChainGradient,
    ChainRun,
    GradientStrategy,
    StateObjective,
    value_and_cotangent,
)
from guidebench.gradients.stage import Differentiated, scaled_vjp
from guidebench.samplers.base import Chain, ReversibleChain, State


@dataclass(frozen=True)
class Reversible(GradientStrategy):
    """Undo each stage and pull the gradient back through it with one and the same evaluation.

    Undoing v = a u + b eps_hat(w) needs eps_hat(w), and the vector-Jacobian product needs its graph at the same w: so
    recovering the state costs nothing beyond what checkpointing pays, and no latent is stored.

    Cost for n stages: 2n forwards and n backwards. Memory: one state, one network graph, whatever n. Rounding grows
    as the chain's mixing is undone (EDICT: p^(-2N)), hence float32 or better is required; the network itself may run
    lower if it is deterministic. `Checkpointed` is exact in any precision.

    Raises:
        ConfigError: the chain cannot be undone, or its state is in half precision.

    References: Wallace et al. 2023b (DOODL), section 4.1.
    Differs from the paper: its released code stores the inputs and never inverts; with inversion on, it uses the
        wrong parity for even N. Inversion there is a third evaluation; here it is fused with the product.
    """

    is_exact = True
    needs_reversible = True
    paper = "Wallace et al. 2023, End-to-End Diffusion Latent Optimization Improves Classifier Guidance"

    def cost(self, chain: Chain) -> Cost:
        """2n forwards, n backwards."""
        return Cost(nfe_fwd=2 * chain.n_stages, nfe_bwd=chain.n_stages)

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`."""
        chain = run.chain
        if not isinstance(chain, ReversibleChain):
            raise ConfigError(
                f"gradient: reversible needs a chain that can be undone, got {type(chain).__name__}; choose "
                "sampler=edict, or gradient=checkpointed, which is exact for every sampler"
            )
        if any(s.dtype in (torch.float16, torch.bfloat16) for s in run.state):
            raise ConfigError(
                f"gradient: reversible amplifies rounding and needs float32 latents, got {run.state[0].dtype}; keep "
                "the latents in float32 (the network may be lower), or choose gradient=checkpointed"
            )
        inputs = Differentiated(run)
        with torch.no_grad():
            state = final = run.sample()
        value, cotangent = value_and_cotangent(objective, final)
        for k in reversed(range(chain.n_stages)):
            state, cotangent = _undo_and_pull(chain, state, cotangent, k, inputs)
        return inputs.result(value, final, cotangent)


def _undo_and_pull(
    chain: ReversibleChain, state: State, cotangent: State, k: int, inputs: Differentiated
) -> tuple[State, State]:
    """State and cotangent before stage k from those after it. Cost: 1 forward and 1 backward."""
    with torch.enable_grad():
        x_t, t = chain.query_after(state, k)
        x_t = x_t.detach().requires_grad_()
        eps = inputs.run.eps(x_t, t, k)
        before = tuple(s.detach().requires_grad_() for s in chain.undo(state, eps.detach(), k))
        after = chain.update(before, eps, k)
        asked, _ = chain.query(before, k)
    others = inputs.at(k)
    grads = scaled_vjp(after, (*before, x_t, *others), cotangent, per_row=not inputs.run.params)
    through_query = scaled_vjp((asked,), before, (grads[len(before)],), per_row=True)
    inputs.add(others, grads[len(before) + 1 :])
    pulled = tuple(g + q for g, q in zip(grads, through_query, strict=False))
    return tuple(s.detach() for s in before), pulled
