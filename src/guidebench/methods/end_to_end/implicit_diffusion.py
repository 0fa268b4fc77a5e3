"""Implicit diffusion: sampling and optimisation in one loop, with a queue of samples under way."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.gradients.base import ChainRun, StateObjective, value_and_cotangent, x_T_grad
from guidebench.gradients.stage import Differentiated, StageGraph
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import State, sample


@dataclass
class _Underway:
    """A sample on its way: its states so far, and the conditioning that each stage was made with."""

    states: list[State]
    conds: list[Tensor]


class ImplicitDiffusion(Method):
    """Descent on x_T and z with as many samples under way as the chain has steps, each one step behind the next.

    In every turn a new sample sets out from the present x_T, every sample under way makes one step with the present z,
    and the one that arrives gives a gradient, with which x_T and z are updated. Its stages were made with older and
    older z; the gradient is the exact one of the path that was run. After the first arrival there is one update per
    turn: n_opt + N turns of calls that can run side by side, instead of n_opt N one after the other, at the same cost.

    The steps of a turn are made one after the other here. A run that is interrupted starts anew.

    Args:
        rate: eta, of both.
        n_opt: updates; 0 samples.

    Differs from the paper: one sample per problem takes the place of a batch, and what is optimised belongs to that
    problem; the paper learns parameters that a distribution shares. Gradients are of the discrete chain.

    References: Marion et al., "Implicit Diffusion: Efficient Optimization through Stochastic Sampling", AISTATS 2025,
    Algorithm 3.
    """

    paper = "Implicit Diffusion (Marion et al. 2024)"
    uses = ("sampler", "loss")
    keeps_noise = True

    def __init__(self, rate: float = 0.1, n_opt: int = 50) -> None:
        self.rate, self.n_opt = rate, n_opt

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.n_opt == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        image_loss, noises = setup.objective(problems, streams), setup.noises(chain, streams)
        x_T, cond, finite = setup.x_T(streams), setup.condition(problems), FiniteCheck()
        losses, underway = [], deque[_Underway]()

        def objective(final: State) -> Tensor:
            return image_loss(setup.model.decode(chain.output(final)))

        for turn in range(self.n_opt + chain.n_stages - 1):
            streams.begin(turn)
            if turn < self.n_opt:
                underway.append(_Underway([chain.init(x_T)], []))
            for path in underway:
                run = ChainRun(chain, guided, path.states[0], cond=cond, noises=noises)
                with torch.no_grad():
                    path.states.append(run.stage(path.states[-1], len(path.conds)))
                path.conds.append(cond)
            if len(underway[0].conds) < chain.n_stages:
                continue
            arrived = underway.popleft()
            conds = [c.detach().requires_grad_() for c in arrived.conds]
            run = ChainRun(chain, guided, arrived.states[0], cond=conds, noises=noises)
            value, grad, cond_grad = _pulled_back(run, arrived.states, objective)
            losses.append(value)
            finite("loss", value, len(losses))
            finite("gradient", grad, len(losses))
            finite("gradient of the condition", cond_grad, len(losses))
            x_T, cond = x_T - self.rate * grad, cond - self.rate * cond_grad
        with torch.no_grad():
            final = sample(chain, guided, chain.init(x_T), cond=cond, noises=noises)
        parts = decoded(setup.model, chain.output(final), finite, self.n_opt)
        return Generation(
            parts, self.cost(setup), guided.cost, {"loss": torch.stack(losses, dim=1)}, finite.failures
        )

    def cost(self, setup: Setup) -> Cost:
        if self.n_opt == 0:
            return Unguided().cost(setup)
        n = setup.chain().n_stages
        return Cost(
            nfe_fwd=setup.rows * (2 * self.n_opt + 1) * n,
            nfe_bwd=setup.rows * self.n_opt * n,
        )

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_opt


def _pulled_back(
    run: ChainRun, states: Sequence[State], objective: StateObjective
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (b,) of a path that was run, and their gradients with respect to x_T and to a shift of all its z."""
    inputs = Differentiated(run)
    value, cotangent = value_and_cotangent(objective, states[-1])
    for k in reversed(range(run.chain.n_stages)):
        cotangent = StageGraph.record(inputs, states[k], k).pull(cotangent, inputs)
    gradient = inputs.result(value, states[-1], cotangent)
    per_stage = [g for g in gradient.cond_grad or () if g is not None]
    return value, x_T_grad(run.chain, gradient.state_grad), torch.stack(per_stage).sum(dim=0)
