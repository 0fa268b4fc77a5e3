"""Gradients through the last K network evaluations only."""

from dataclasses import dataclass

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import (
    ChainGradient,
    ChainRun,
    GradientStrategy,
    StateObjective,
    value_and_cotangent,
)
from guidebench.gradients.stage import Differentiated, StageGraph
from guidebench.samplers.base import Chain


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

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`."""
        inputs, graphs, state = Differentiated(run), [], run.state
        n = run.chain.n_stages
        first_kept = n - self.last_k
        for k in range(n):
            record = StageGraph.record if k >= first_kept else StageGraph.record_linear
            graphs.append(record(inputs, state, k))
            state = run.watched(k, graphs[-1].after)
        value, cotangent = value_and_cotangent(objective, state)
        while graphs:
            cotangent = graphs.pop().pull(cotangent, inputs)
        return inputs.result(value, state, cotangent)
