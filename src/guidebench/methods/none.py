"""The unguided baseline."""

from collections.abc import Sequence

import torch

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.problems import Problem
from guidebench.samplers.base import sample


class Unguided(Method):
    """Plain sampling with classifier-free guidance: what every guided method is compared against."""

    paper = "baseline"
    uses = ("sampler",)

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        cond = setup.condition(problems)
        finite = FiniteCheck()
        state = sample(
            chain,
            guided,
            chain.init(setup.x_T(streams)),
            cond=cond,
            noises=setup.noises(chain, streams),
            on_stage=lambda k, state: finite("x_t", state[0], k),
        )
        x0 = chain.output(state)
        parts = decoded(setup.model, x0, finite, chain.n_stages)
        return Generation(parts, self.cost(setup), guided.cost, failures=finite.failures)

    def cost(self, setup: Setup) -> Cost:
        return Cost(nfe_fwd=setup.rows * setup.chain().n_stages)
