"""Gradients through the last K network evaluations only."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainGradient, GradientStrategy, Objective, value_and_cotangent
from guidebench.gradients.stage import Differentiated, StageGraph
from guidebench.samplers.base import Chain, Conditioning, EpsModel, Noises, OnStage, State


@dataclass(frozen=True)
class Truncated(GradientStrategy):
    """Drop the network's Jacobian in all but the last K stages; the sampler's linear algebra stays.

    For DDIM: a_t = a a_u + b J_x^T a_u in the last K stages and a_t = a a_u before them. K = n is exact; K = 0 is the
    gradient of the loss times alpha_end/alpha_start, at no backward at all.

    Cost: n forwards and K backwards. Memory: K network graphs.

    Args:
        last_k: K, in evaluations of the network (two per step for EDICT).

    Raises:
        ConfigError: K < 0.

    References: Clark et al. 2024 (DRaFT-K), section 4.
    """

    last_k: int = 1

    is_exact = False
    paper = "Clark et al. 2024, Directly Fine-Tuning Diffusion Models on Differentiable Rewards"

    def __post_init__(self) -> None:
        if self.last_k < 0:
            raise ConfigError(f"gradient.last_k: got {self.last_k}; allowed is 0 or more")

    def cost(self, chain: Chain) -> Cost:
        """n forwards, min(K, n) backwards."""
        return Cost(nfe_fwd=chain.n_stages, nfe_bwd=min(self.last_k, chain.n_stages))

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
        inputs, graphs = Differentiated(cond, params, noises), []
        first_kept = chain.n_stages - self.last_k
        for k in range(chain.n_stages):
            record = StageGraph.record if k >= first_kept else StageGraph.record_linear
            graphs.append(record(chain, eps_model, state, k, inputs))
            state = tuple(s.detach() for s in graphs[-1].new)
            if on_stage is not None:
                on_stage(k, state)
        value, cotangent = value_and_cotangent(objective, state)
        while graphs:
            cotangent = graphs.pop().pull(cotangent, inputs)
        return inputs.result(value, state, cotangent)
