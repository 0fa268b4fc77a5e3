"""Gradient descent on what a chain starts from: its noise and its conditioning."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, x_T_grad
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import State, sample

Variable = Literal["x_T", "cond"]
"""What is optimised: the noise, or what the model is conditioned on."""

_VARIANTS = {"paper": (1.0, 0), "official": (1 / 16, 1)}
"""Share of each sample's gradient that a step follows, and updates that are left out at the end."""


class LatentDescent(Method):
    """Sample, bring the gradient of the loss back to x_T and z, step down, n_opt times; then sample once more.

        x_T <- x_T - rate dL/dx_T,   z <- z - rate dL/dz,        L the loss of what the chain ends in

    Plain descent, without momentum, clipping or projection. The gradient is the strategy's: AdjointDEIS, AdjointDPM or
    the exact one of the discrete chain. The noise of a stochastic sampler is drawn (or recorded) once and kept, so
    that one path of the SDE is optimised.

    Args:
        rate: eta, of both; the paper's headline has 0.1, its text 0.01. It belongs to a strategy, a grid and a number
            of steps: lengths of their gradients differ by factors of 20 and more.
        n_opt: optimisation steps; 0 samples.
        optimised: of "x_T" and "cond", at least one.
        variant: "paper", where each sample descends its own loss, or "official", which descends the mean of a batch of
            16, so that each moves by a sixteenth, and leaves out the last update.

    Differs from the paper: the sample is decoded from the last x_T and z, at the cost of one more pass.

    References: Blasingame & Liu, "AdjointDEIS: Efficient Gradients for Diffusion Models", NeurIPS 2024, Algorithm 1.
    """

    paper = "AdjointDEIS (Blasingame & Liu 2024), Sec. 5"
    uses = ("sampler", "loss", "gradient")
    keeps_noise = True

    def __init__(
        self,
        rate: float = 0.1,
        n_opt: int = 50,
        optimised: Sequence[Variable] = ("x_T", "cond"),
        variant: Literal["paper", "official"] = "paper",
    ) -> None:
        if not optimised or not set(optimised) <= {"x_T", "cond"}:
            raise ConfigError(
                f"method.optimised: got {list(optimised)}; allowed are x_T and cond, at least one of them"
            )
        self.rate, self.n_opt, self.optimised = rate, n_opt, tuple(optimised)
        share, left_out = _VARIANTS[variant]
        self.step_size, self.n_updates = rate * share, n_opt - left_out if n_opt else 0

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.n_updates == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        image_loss, noises = setup.objective(problems, streams), setup.noises(chain, streams)
        finite = FiniteCheck()

        def objective(final: State) -> Tensor:
            return image_loss(setup.model.decode(chain.output(final)))

        x_T = setup.x_T(streams)
        losses = torch.zeros(len(problems), self.n_updates, device=x_T.device)
        state = {"x_T": x_T, "cond": setup.condition(problems), "loss": losses}
        for step in setup.progress.steps(self.n_updates, state):
            streams.begin(step)
            cond = state["cond"].detach().requires_grad_("cond" in self.optimised)
            run = ChainRun(chain, guided, chain.init(state["x_T"]), cond=cond, noises=noises)
            result = setup.gradient.value_and_grad(run, objective)
            state["loss"][:, step] = result.value
            if "x_T" in self.optimised:
                grad = x_T_grad(chain, result.state_grad)
                finite("gradient", grad, step)
                state["x_T"] = state["x_T"] - self.step_size * grad
            if isinstance(result.cond_grad, Tensor):
                finite("gradient of the condition", result.cond_grad, step)
                state["cond"] = cond.detach() - self.step_size * result.cond_grad
        for step, values in enumerate(state["loss"].T):  # those of before an interruption too
            finite("loss", values, step)
        with torch.no_grad():
            final = sample(chain, guided, chain.init(state["x_T"]), cond=state["cond"], noises=noises)
        parts = decoded(setup.model, chain.output(final), finite, self.n_updates)
        return Generation(parts, self.cost(setup), guided.cost, {"loss": state["loss"]}, finite.failures)

    def cost(self, setup: Setup) -> Cost:
        chain = setup.chain()
        if self.n_updates == 0:
            return Unguided().cost(setup)
        once = setup.gradient.cost(chain)
        return Cost(
            nfe_fwd=setup.rows * (self.n_updates * once.nfe_fwd + chain.n_stages),
            nfe_bwd=setup.rows * self.n_updates * once.nfe_bwd,
        )

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_updates
