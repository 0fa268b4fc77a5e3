"""Greedy-DiM-S: at each step, the blend of two people's predictions that the loss likes best."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.morphing.blending import Interpolation, blend
from guidebench.methods.morphing.encoders import Encoder, Inversion
from guidebench.methods.morphing.parents import encode_parents
from guidebench.problems import Problem
from guidebench.samplers.base import noise_at


class GreedySearch(Method):
    """Predict the noise of each step for both people and step with the best of several blends.

        e_w = blend(eps_hat(x_t, z_a, t), eps_hat(x_t, z_b, t); w);   eps' = argmin_w l((x_t - sigma_t e_w) / alpha_t)

    Cost per stage: two network rows, in one batch, and `n_blends` evaluations of the loss without gradient.

    Args:
        encoder: how pictures become noise; null inverts the job's sampler.
        n_blends: weights on an even grid over [0, 1] (the paper: 21).
        interpolation: of x_T and of the predictions.

    References: Blasingame & Liu, "Greedy-DiM: Greedy Algorithms for Unreasonably Effective Face Morphs", IJCB 2024.
    """

    paper = "Greedy-DiM-S (Blasingame & Liu 2024)"
    reads = ("a", "b")
    conditions = True

    def __init__(
        self,
        encoder: Encoder | None = None,
        n_blends: int = 21,
        interpolation: Interpolation = "slerp",
    ) -> None:
        self.encoder = Inversion() if encoder is None else encoder
        self.n_blends, self.interpolation = n_blends, interpolation

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        parents, chain = encode_parents(problems, setup, self.encoder), setup.chain()
        streams, model = setup.streams(problems), setup.model
        loss, finite = setup.objective(problems, streams), FiniteCheck()
        start = parents.blended(0.5, self.interpolation)
        noises, both = start.noises(chain, streams), CountedModel(model.eps, rows=2)
        state, losses = chain.init(start.start), []
        weights = torch.linspace(0, 1, self.n_blends).tolist()
        for k in range(chain.n_stages):
            streams.begin(k)
            x_t, t = chain.query(state, k)
            eps_a, eps_b = both(torch.cat([x_t, x_t]), t, torch.cat(parents.cond)).chunk(2)
            alpha_t, sigma_t = chain.schedule.alpha(t), chain.schedule.sigma(t)
            best, lowest = eps_a, torch.full_like(x_t.flatten(1)[:, 0], torch.inf)
            for weight in weights:
                eps = blend(eps_a, eps_b, weight, self.interpolation)
                value = loss(model.decode((x_t - sigma_t * eps) / alpha_t)).to(lowest.dtype)
                best = torch.where((value < lowest).view(-1, *(1,) * (eps.ndim - 1)), eps, best)
                lowest = torch.minimum(lowest, value)
            losses.append(lowest)
            state = chain.update(state, best, k, noise_at(chain, noises, k))
            finite("x_t", state[0], k)
        parts = decoded(model, chain.output(state), finite, chain.n_stages)
        history: dict[str, Tensor] = {"loss": torch.stack(losses, dim=1)}
        return Generation(parts, self.cost(setup), parents.cost + both.cost, history, finite.failures)

    def cost(self, setup: Setup) -> Cost:
        return Cost(nfe_fwd=2 * (self.encoder.evaluations(setup) + setup.chain().n_stages))

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_blends * setup.chain().n_stages
