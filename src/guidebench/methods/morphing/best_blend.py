"""Search over blends: the best of several morphs, along the line between two people or at random."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.morphing.blending import Interpolation
from guidebench.methods.morphing.encoders import Encoder, Inversion
from guidebench.methods.morphing.parents import encode_parents
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import sample
from guidebench.samples import Part

_BLENDS = "blends"  # the stream of random weights


class BestBlend(Method):
    """Sample several blends and keep the one with the lowest loss, for each pair of its own.

    Weights on an even grid over [0, 1] are Morph-PIPE, whose morphs in their order also are a short animation from one
    person to the other (part "frames"). Random weights, drawn apart for noise and code, are the search that an
    optimiser has to beat at equal cost.

    Args:
        encoder: how pictures become noise; null inverts the job's sampler.
        n_blends: how many (Morph-PIPE: 21).
        weights: "grid" or "random".
        interpolation: of the noises.

    References: Zhang et al., "Morph-PIPE: Plugging in Identity Prior to Enhance Face Morphing Attack Based on Diffusion
    Model", NISK 2023.
    """

    paper = "Morph-PIPE (Zhang et al. 2023)"
    reads = ("a", "b")
    conditions = True

    def __init__(
        self,
        encoder: Encoder | None = None,
        n_blends: int = 21,
        weights: Literal["grid", "random"] = "grid",
        interpolation: Interpolation = "slerp",
    ) -> None:
        self.encoder = Inversion() if encoder is None else encoder
        self.n_blends, self.weights, self.interpolation = n_blends, weights, interpolation

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        parents, streams = encode_parents(problems, setup, self.encoder), setup.streams(problems)
        objective, finite = setup.objective(problems, streams), FiniteCheck()
        chain, guided = setup.chain(), setup.guided()
        weights = self._weights(streams.normal((self.n_blends, 2), _BLENDS))
        state = {
            "latents": torch.zeros(self.n_blends, *parents.x_T[0].shape, device=weights.device),
            "loss": torch.full((self.n_blends, len(problems)), torch.inf, device=weights.device),
        }
        for i in setup.progress.steps(self.n_blends, state):
            start = parents.blended(weights[:, i, 0], self.interpolation, weights[:, i, 1])
            streams.begin(i)
            final = sample(
                chain,
                guided,
                chain.init(start.start),
                cond=start.cond,
                noises=start.noises(chain, setup.streams(problems)),
            )
            state["latents"][i] = chain.output(final)
            state["loss"][i] = objective(setup.model.decode(state["latents"][i]))
        best = state["loss"].nan_to_num(torch.inf).argmin(dim=0)
        rows = torch.arange(len(problems), device=best.device)
        parts = decoded(setup.model, state["latents"][best, rows], finite, self.n_blends)
        if self.weights == "grid":
            frames = torch.stack([setup.model.decode(x0) for x0 in state["latents"]], dim=1)
            parts["frames"] = Part("frames", frames.clamp(0, 1))
        history = {"loss": state["loss"].T, "weight": weights[..., 0]}
        return Generation(parts, self.cost(setup), parents.cost + guided.cost, history, finite.failures)

    def _weights(self, normal: Tensor) -> Tensor:
        """Weights of noise and code, (b, n, 2); standard normal draws become uniform ones."""
        if self.weights == "random":
            return torch.special.ndtr(normal)
        return torch.linspace(0, 1, self.n_blends, device=normal.device)[:, None].expand_as(normal)

    def cost(self, setup: Setup) -> Cost:
        sampled = self.n_blends * Unguided().cost(setup).nfe_fwd
        return Cost(nfe_fwd=2 * self.encoder.evaluations(setup) + sampled)

    def printed_evaluations(self, setup: Setup) -> int:
        """Forwards as the paper prints them: both people's encodings, one batch, count once."""
        return self.cost(setup).nfe_fwd - self.encoder.evaluations(setup)

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_blends
