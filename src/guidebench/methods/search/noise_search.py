"""Zero-order search over the initial noise: no gradient, any loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD
from guidebench.errors import ConfigError
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.likelihood import rowwise
from guidebench.problems import Problem
from guidebench.samplers.base import sample


class NoiseSearch(Method):
    """Sample candidates around the best noise so far, go on from the best of them, n_opt times.

        y_i = sqrt(1 - radius^2) x_T + radius sigma_T xi_i,   x_T <- argmin of l(x_0(.)) over x_T, y_1 .. y_n

    A candidate is as likely as noise as x_T is. With radius 1 it is independent, which makes this the best of
    1 + n_opt n_candidates samples (random search). A stochastic sampler's noise is kept. The loss need not be
    differentiable. Cost: 1 + n_opt n_candidates samples and losses.

    Args:
        n_opt: rounds; 0 is unguided sampling itself.
        n_candidates: new candidates of a round.
        radius: share of fresh noise, in (0, 1].

    Differs from the paper: candidates are rotated towards fresh noise instead of moved by a fixed distance, so that
    their norm stays that of noise; the pivot itself competes.

    References: Ma et al., "Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps", CVPR 2025,
    Sec. 3 (zero-order search).
    """

    paper = "zero-order search (Ma et al. 2025)"
    keeps_noise = True

    def __init__(self, n_opt: int = 2, n_candidates: int = 2, radius: float = 0.3) -> None:
        if not 0 < radius <= 1:
            raise ConfigError(f"method.radius: got {radius:g}; allowed is above 0 and up to 1")
        self.n_opt, self.n_candidates, self.radius = n_opt, n_candidates, radius

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.n_opt == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        cond, noises, judging = (
            setup.condition(problems),
            setup.noises(chain, streams),
            setup.streams(problems),
        )
        objective, finite, n = setup.objective(problems, judging), FiniteCheck(), self._n_samples

        def judged(x_T: Tensor) -> tuple[Tensor, Tensor]:
            x0 = chain.output(sample(chain, guided, chain.init(x_T), cond=cond, noises=noises))
            judging.begin(0)
            return x0, objective(setup.model.decode(x0)).nan_to_num(torch.inf)

        x_T = setup.x_T(streams)
        state = {
            "pivot": x_T,
            "x_T": x_T,
            "x0": torch.full_like(x_T, torch.nan),
            "loss": torch.full((len(x_T), n), torch.inf, device=x_T.device, dtype=x_T.dtype),
        }
        for i in setup.progress.steps(n, state):
            streams.begin(i)
            start = x_T
            if i > 0:
                if (i - 1) % self.n_candidates == 0:
                    state["pivot"] = state["x_T"]
                fresh = setup.model.schedule.prior_std * streams.normal(setup.model.sample_shape, METHOD)
                start = math.sqrt(1 - self.radius**2) * state["pivot"] + self.radius * fresh
            x0, loss = judged(start)
            better = rowwise(loss < state["loss"].amin(1), x0)
            state["x_T"] = torch.where(better, start, state["x_T"])
            state["x0"] = torch.where(better, x0, state["x0"])
            state["loss"][:, i] = loss
        parts = decoded(setup.model, state["x0"], finite, n * chain.n_stages)
        return Generation(parts, self.cost(setup), guided.cost, {"loss": state["loss"]}, finite.failures)

    @property
    def _n_samples(self) -> int:
        return 1 + self.n_opt * self.n_candidates

    def cost(self, setup: Setup) -> Cost:
        return Cost(nfe_fwd=self._n_samples * Unguided().cost(setup).nfe_fwd)

    def loss_evaluations(self, setup: Setup) -> int:
        return self._n_samples if self.n_opt else 0
