"""Best of N: sample N times and keep what the guiding loss likes best."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.likelihood import rowwise
from guidebench.problems import Problem
from guidebench.samplers.base import sample


class BestOfN(Method):
    """Sample N times from fresh noise, each problem for itself, and keep the sample of the lowest loss.

        x = x_i,  i = argmin_i l(x_i);   of density N p(x) P[l(X) > l(x)]^(N - 1),  X ~ p

    The loss need not be differentiable. The first of the N is the unguided sample. Random augmentations of a loss are
    the same for all N, so that samples are compared and not augmentations. Cost: N samples, N losses.

    Args:
        n: N; 1 is unguided sampling itself.

    References: Stiennon et al., "Learning to summarize with human feedback", NeurIPS 2020; Gao, Schulman, Hilton,
    "Scaling Laws for Reward Model Overoptimization", ICML 2023.
    """

    paper = "best of N (Stiennon et al. 2020)"

    def __init__(self, n: int = 4) -> None:
        if n < 1:
            raise ConfigError(f"method.n: got {n}; allowed are counts from 1")
        self.n = n

    def score(self, loss: Tensor, streams: RandomStreams) -> Tensor:
        """How good samples of these losses are, (b,); the highest of N scores is kept."""
        return -loss

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        chain, guided, cond = setup.chain(), setup.guided(), setup.condition(problems)
        judging, finite, b = setup.streams(problems), FiniteCheck(), len(problems)
        objective, device = setup.objective(problems, judging), setup.model.device
        state = {
            "x0": torch.full((b, *setup.model.sample_shape), torch.nan, device=device),
            "score": torch.full((b,), -torch.inf, device=device),
            "loss": torch.zeros(b, self.n, device=device),
        }
        for i in setup.progress.steps(self.n, state):
            streams = setup.streams(problems)
            if i > 0:
                streams.begin(i)
            start, noises = chain.init(setup.x_T(streams)), setup.noises(chain, streams)
            x0 = chain.output(sample(chain, guided, start, cond=cond, noises=noises))
            judging.begin(0)
            loss = objective(setup.model.decode(x0))
            score = self.score(loss, streams).nan_to_num(-torch.inf).to(state["score"])
            better = score > state["score"]
            state["x0"] = torch.where(rowwise(better, x0), x0, state["x0"])
            state["score"] = torch.where(better, score, state["score"])
            state["loss"][:, i] = loss
        parts = decoded(setup.model, state["x0"], finite, self.n * chain.n_stages)
        return Generation(parts, self.cost(setup), guided.cost, self.curves(state["loss"]), finite.failures)

    def curves(self, loss: Tensor) -> dict[str, Tensor]:
        """The history from the losses of all samples, (b, N)."""
        return {"loss": loss}

    def cost(self, setup: Setup) -> Cost:
        return Cost(nfe_fwd=self.n * Unguided().cost(setup).nfe_fwd)

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n
