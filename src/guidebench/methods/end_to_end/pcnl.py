"""Markov chain Monte Carlo on the initial noise, by the gradient through the whole chain or without it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, x_T_grad
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, Use, decoded
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.likelihood import rowwise
from guidebench.problems import Problem
from guidebench.samplers.base import State


class PCNL(Method):
    r"""Preconditioned Crank-Nicolson (Langevin) steps on u = x_T / sigma_T, whose law is N(0, I) exp(-Phi(u)) / Z.

        v = ((2 - d) u - 2 d g(u) + sqrt(8 d) xi) / (2 + d),   Phi = scale l(x_0(.)),  g = grad Phi, or 0
        accepted with probability min(1, exp(rho(u, v) - rho(v, u)))
        rho(u, v) = Phi(u) + <v - u, g(u)> / 2 + d/4 <u + v, g(u)> + d/4 |g(u)|^2

    The sample is where the walk ends. A deterministic sampler maps the walk's law to p(x_0) exp(-scale l(x_0)), p what
    it samples unguided. The noise of a stochastic one is kept, untilted. Without the gradient (pCN) the loss need not
    be differentiable. The history has the share of accepted steps.

    Cost: n_opt + 1 samples, with the gradient through each where `langevin`.

    Args:
        scale: inverse temperature of the target; 0 is unguided sampling itself.
        n_opt: steps of the walk.
        delta: d, in (0, 2]; at 2 and without gradient, proposals are independent.
        langevin: propose along the gradient.

    References: Cotter, Roberts, Stuart, White, "MCMC Methods for Functions: Modifying Old Algorithms to Make Them
    Faster", Statistical Science 2013, eq. 4.8 to 4.11.
    """

    paper = "pCNL (Cotter et al. 2013)"
    keeps_noise = True

    def __init__(
        self, scale: float = 1.0, n_opt: int = 10, delta: float = 0.5, langevin: bool = True
    ) -> None:
        if not 0 < delta <= 2:
            raise ConfigError(f"method.delta: got {delta:g}; allowed is above 0 and up to 2")
        self.scale, self.n_opt, self.delta, self.langevin = scale, n_opt, delta, langevin

    @property
    def uses(self) -> tuple[Use, ...]:  # type: ignore[override]
        """The gradient through the chain only where it proposes."""
        return ("sampler", "loss", "gradient") if self.langevin else ("sampler", "loss")

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self._unguided:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        cond, noises, judging = (
            setup.condition(problems),
            setup.noises(chain, streams),
            setup.streams(problems),
        )
        image_loss, std = setup.objective(problems, judging), setup.model.schedule.prior_std

        def objective(final: State) -> Tensor:
            judging.begin(0)
            return self.scale * image_loss(setup.model.decode(chain.output(final)))

        def judged(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """x_0, Phi (b,) and g."""
            run = ChainRun(chain, guided, chain.init(std * u), cond=cond, noises=noises)
            if self.langevin:
                result = setup.gradient.value_and_grad(run, objective)
                grad = std * x_T_grad(chain, result.state_grad)
                return chain.output(result.state).detach(), result.value, grad
            with torch.no_grad():
                final = run.sample()
                return chain.output(final), objective(final), torch.zeros_like(u)

        u = setup.x_T(streams) / std
        b, n = len(u), self.n_opt + 1
        state = {
            "u": u,
            "x0": torch.zeros_like(u),
            "phi": u.new_zeros(b),
            "grad": torch.zeros_like(u),
            "loss": u.new_zeros(b, n),
            "accepted": u.new_zeros(b, n),
        }
        for i in setup.progress.steps(n, state):
            streams.begin(i)
            noise = streams.normal(setup.model.sample_shape, METHOD)
            v = state["u"] if i == 0 else self.proposal(state["u"], state["grad"], noise)
            x0, phi, grad = judged(v)
            forth, back = (
                self.rho(state["u"], v, state["phi"], state["grad"]),
                self.rho(v, state["u"], phi, grad),
            )
            uniform = torch.special.ndtr(streams.normal((1,), METHOD)[:, 0])
            accept = (uniform.log() < forth - back) | torch.tensor(i == 0, device=u.device)
            for name, new in (("u", v), ("x0", x0), ("phi", phi), ("grad", grad)):
                state[name] = torch.where(rowwise(accept, state[name]), new.to(state[name]), state[name])
            state["loss"][:, i] = state["phi"] / self.scale
            state["accepted"][:, i] = accept.to(u)
        finite = FiniteCheck()
        finite("loss", state["phi"], self.n_opt)
        parts = decoded(setup.model, state["x0"], finite, self.n_opt)
        history = {"loss": state["loss"], "accepted": state["accepted"][:, 1:].mean(1, keepdim=True)}
        return Generation(parts, self.cost(setup), guided.cost, history, finite.failures)

    def proposal(self, u: Tensor, grad: Tensor, noise: Tensor) -> Tensor:
        """v, (b, ...)."""
        d = self.delta
        return ((2 - d) * u - 2 * d * grad + math.sqrt(8 * d) * noise) / (2 + d)

    def rho(self, u: Tensor, v: Tensor, phi: Tensor, grad: Tensor) -> Tensor:
        """rho(u, v), (b,), from Phi(u) and g(u)."""
        u, v, g, d = u.flatten(1), v.flatten(1), grad.flatten(1), self.delta
        return phi + ((v - u) * g / 2 + d / 4 * (u + v) * g + d / 4 * g.square()).sum(1)

    @property
    def _unguided(self) -> bool:
        return self.scale == 0 or self.n_opt == 0

    def cost(self, setup: Setup) -> Cost:
        if self._unguided:
            return Unguided().cost(setup)
        chain, times = setup.chain(), setup.rows * (self.n_opt + 1)
        once = setup.gradient.cost(chain) if self.langevin else Cost(nfe_fwd=chain.n_stages)
        return Cost(nfe_fwd=times * once.nfe_fwd, nfe_bwd=times * once.nfe_bwd)

    def loss_evaluations(self, setup: Setup) -> int:
        return 0 if self._unguided else self.n_opt + 1
