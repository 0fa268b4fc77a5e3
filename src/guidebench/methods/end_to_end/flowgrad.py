"""FlowGrad: optimise a control along the flow instead of where it starts."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import Chain, State, sample


class ControlledChain(Chain):
    """A deterministic chain that takes a control where a stochastic one takes noise: it is added to the new x.

    Args:
        chain: the chain.
        gains: factor on the control of each stage; 0 = the stage takes none.
    """

    def __init__(self, chain: Chain, gains: Sequence[float]) -> None:
        self.inner, self.gains = chain, tuple(gains)
        self.schedule, self.times, self.n_stages = chain.schedule, chain.times, chain.n_stages

    def init(self, x_T: Tensor) -> State:
        return self.inner.init(x_T)

    def query(self, state: State, k: int) -> tuple[Tensor, float]:
        return self.inner.query(state, k)

    def update(self, state: State, eps: Tensor, k: int, noise: Tensor | None = None) -> State:
        """The inner stage, then x + gain * control."""
        x, *rest = self.inner.update(state, eps, k)
        return (x if noise is None else x + self.gains[k] * noise, *rest)

    def output(self, state: State) -> Tensor:
        return self.inner.output(state)

    def needs_noise(self, k: int) -> bool:
        """Whether the stage takes a control."""
        return self.gains[k] != 0.0

    def step_of(self, k: int) -> int:
        return self.inner.step_of(k)

    def rewind(self, after: State, step: int, noise: Tensor) -> State:
        return self.inner.rewind(after, step, noise)


class FlowGrad(Method):
    r"""Push the state of each step, so that the sample loses less; n_opt steps of plain descent on all pushes at once.

        form="impulse" (the released code):  x_k <- x_k + u_k before step k;                 g_k = dL/dx_k
        form="flow" (the paper's equation):  x_{k+1} = step(x_k) + u_k dt_k,  min L + penalty sum_k ||u_k||^2 dt_k
                                                                  g_k = dt_k (dL/dx_{k+1} + 2 penalty u_k)
        u_k <- u_k - rate g_k,   u = 0 at first,  dt_k the share of the time from noise to data that step k takes

    Args:
        rate: of the descent (the released code: 10).
        n_opt: optimisation steps (the released code: 10); 0 samples.
        form: see above.
        penalty: lambda, for the form "flow".

    Differs from the paper: gradients go back through every step, where FlowGrad skips over straight stretches of a
    rectified flow, so they are those of the chain itself. Its time is the diffusion's.

    References: Liu et al., "FlowGrad: Controlling the Output of Generative ODEs with Gradients", CVPR 2023, eq. 5-9.
    """

    paper = "FlowGrad (Liu et al. 2023)"
    uses = ("sampler", "loss", "gradient")

    def __init__(
        self,
        rate: float = 10.0,
        n_opt: int = 10,
        form: Literal["impulse", "flow"] = "impulse",
        penalty: float = 0.0,
    ) -> None:
        if form not in ("impulse", "flow"):
            raise ConfigError(f"method.form: got {form!r}; allowed are 'impulse' and 'flow'")
        if form == "impulse" and penalty:
            raise ConfigError(
                f"method.penalty: got {penalty:g}, and the impulses of the released code are not penalised; set it "
                "to 0, or method.form=flow"
            )
        self.rate, self.n_opt, self.form, self.penalty = rate, n_opt, form, penalty

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.n_opt == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = self._controlled(setup.chain()), setup.guided(), setup.streams(problems)
        cond, image_loss, finite = (
            setup.condition(problems),
            setup.objective(problems, streams),
            FiniteCheck(),
        )

        def objective(final: State) -> Tensor:
            return image_loss(setup.model.decode(chain.output(final)))

        x_T = setup.x_T(streams)
        state = {
            "x_T": x_T,
            "controls": torch.zeros(chain.n_stages, *x_T.shape, device=x_T.device),
            "loss": torch.zeros(len(problems), self.n_opt, device=x_T.device),
        }
        gains = torch.tensor(chain.gains, device=x_T.device).view(-1, *(1,) * x_T.ndim)
        for step in setup.progress.steps(self.n_opt, state):
            streams.begin(step)
            controls = [
                u.detach().requires_grad_(g != 0) for u, g in zip(state["controls"], chain.gains, strict=True)
            ]
            run = ChainRun(chain, guided, chain.init(state["x_T"]), cond=cond, noises=controls)
            result = setup.gradient.value_and_grad(run, objective)
            state["loss"][:, step] = result.value
            grads = (
                torch.stack([torch.zeros_like(x_T) if g is None else g for g in result.noises_grad])
                + 2 * self.penalty * gains * state["controls"]
            )
            finite("gradient", grads.transpose(0, 1), step)
            state["controls"] = state["controls"] - self.rate * grads
            if self.form == "impulse":  # the one before the first step
                state["x_T"] = state["x_T"] - self.rate * result.state_grad[0]
        for step, values in enumerate(state["loss"].T):  # those of before an interruption too
            finite("loss", values, step)
        with torch.no_grad():
            controls = list(state["controls"])
            final = sample(chain, guided, chain.init(state["x_T"]), cond=cond, noises=controls)
        parts = decoded(setup.model, chain.output(final), finite, self.n_opt)
        return Generation(parts, self.cost(setup), guided.cost, {"loss": state["loss"]}, finite.failures)

    def _controlled(self, chain: Chain) -> ControlledChain:
        """The chain with its controls; an impulse before step k + 1 is one after step k."""
        if self.form == "impulse":
            return ControlledChain(chain, [1.0] * (chain.n_stages - 1) + [0.0])
        ends = [
            (chain.times[chain.step_of(k)], chain.times[chain.step_of(k) + 1]) for k in range(chain.n_stages)
        ]
        span = chain.times[0] - chain.times[-1]
        return ControlledChain(chain, [(t - u) / span for t, u in ends])

    def cost(self, setup: Setup) -> Cost:
        chain = setup.chain()
        if self.n_opt == 0:
            return Unguided().cost(setup)
        once = setup.gradient.cost(chain)
        return Cost(
            nfe_fwd=setup.rows * (self.n_opt * once.nfe_fwd + chain.n_stages),
            nfe_bwd=setup.rows * self.n_opt * once.nfe_bwd,
        )

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_opt
