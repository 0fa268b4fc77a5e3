"""DNO and ReNO: optimise all the noise of a chain, and keep it likely as noise."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, x_T_grad
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import State, sample

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class DNO(Method):
    r"""Adam on z, the initial noise and that of every stochastic stage, along the gradient through the whole chain.

        z <- z - rate Adam(grad_z [ l(x_0(z)) + weight R(z) ])

        "probability" (DNO): R = -mean over permutations P of [log p_1(M_1(P z)) + log p_2(M_2(P z))], where P z is cut
            into m vectors z_i of k elements, M_1 = |1/m sum z_i|, M_2 = ||1/m sum z_i z_i^T - I||, and
            p_1(M) = min(1, 2k exp(-m M^2 / 2k)),
            p_2(M) = min(1, 2 exp(-m max(sqrt(1 + M) - 1 - sqrt(k / m), 0)^2 / 2))
            bound the probability that noise is as far from its mean and covariance
        "norm" (ReNO): R = |z|^2 / 2 - (d - 1) log |z|, minus the log-density of the norm of d normal numbers

    DNO's is flat where z looks like noise, and steep where it does not.

    Cost: n_opt gradients through the chain and one sample.

    Args:
        rate: of Adam (DNO: 0.01).
        n_opt: optimisation steps; 0 is unguided sampling itself.
        regulariser: R.
        weight: of R beside the loss, so it belongs to a loss's unit; 0 optimises the loss alone.
        size: k, elements of a vector (DNO: 2).
        n_permutations: drawn anew in each step (DNO: 100 in all).

    Differs from the paper: permutations are fewer and fresh. ReNO follows Nesterov's momentum with clipped gradients,
    not Adam, and one-step models. The sample belongs to the last z, at the cost of one more pass.

    References: Tang et al., "Inference-Time Alignment of Diffusion Models with Direct Noise Optimization", ICML 2025,
    Sec. 3 and 4; Eyring et al., "ReNO: Enhancing One-step Text-to-Image Models through Reward-based Noise
    Optimization", NeurIPS 2024, eq. 5.
    """

    paper = "DNO (Tang et al. 2025)"
    uses = ("sampler", "loss", "gradient")
    keeps_noise = True

    def __init__(
        self,
        rate: float = 0.01,
        n_opt: int = 50,
        regulariser: Literal["probability", "norm"] = "probability",
        weight: float = 1.0,
        size: int = 2,
        n_permutations: int = 4,
    ) -> None:
        if regulariser not in ("probability", "norm"):
            raise ConfigError(
                f"method.regulariser: got {regulariser!r}; allowed are 'probability' and 'norm'"
            )
        self.rate, self.n_opt, self.regulariser, self.weight = rate, n_opt, regulariser, weight
        self.size, self.n_permutations = size, n_permutations

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.n_opt == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        cond, image_loss, finite = (
            setup.condition(problems),
            setup.objective(problems, streams),
            FiniteCheck(),
        )
        noises, std = setup.noises(chain, streams), setup.model.schedule.prior_std
        drawn = [i for i, noise in enumerate(noises) if noise is not None]

        def objective(final: State) -> Tensor:
            return image_loss(setup.model.decode(chain.output(final)))

        def run(z: Tensor) -> ChainRun:
            """The chain that starts from z, (1 + stages, b, ...)."""
            given: list[Tensor | None] = [None] * chain.n_stages
            for i, noise in zip(drawn, z[1:], strict=True):
                given[i] = noise.detach().requires_grad_()
            return ChainRun(chain, guided, chain.init(std * z[0]), cond=cond, noises=given)

        z = torch.stack([setup.x_T(streams) / std, *(noise for noise in noises if noise is not None)])
        state = {
            "z": z,
            "mean": torch.zeros_like(z),
            "square": torch.zeros_like(z),
            "loss": z.new_zeros(len(problems), self.n_opt),
        }
        for step in setup.progress.steps(self.n_opt, state):
            streams.begin(step)
            result = setup.gradient.value_and_grad(run(state["z"]), objective)
            of_stages = [grad for grad in result.noises_grad if grad is not None]
            grad = torch.stack([std * x_T_grad(chain, result.state_grad), *of_stages])
            if self.weight:
                grad = grad + self.weight * self._penalty_grad(state["z"], streams.generators(METHOD))
            finite("gradient", grad.transpose(0, 1), step)
            state["loss"][:, step] = result.value
            state["mean"] = _BETAS[0] * state["mean"] + (1 - _BETAS[0]) * grad
            state["square"] = _BETAS[1] * state["square"] + (1 - _BETAS[1]) * grad.square()
            unbiased = [1 - beta ** (step + 1) for beta in _BETAS]
            scale = (state["square"] / unbiased[1]).sqrt() + _EPSILON
            state["z"] = state["z"] - self.rate * state["mean"] / unbiased[0] / scale
        for step, values in enumerate(state["loss"].T):  # those of before an interruption too
            finite("loss", values, step)
        with torch.no_grad():
            last = run(state["z"])
            x0 = chain.output(sample(chain, guided, last.state, cond=cond, noises=last.noises))
        parts = decoded(setup.model, x0, finite, self.n_opt)
        return Generation(parts, self.cost(setup), guided.cost, {"loss": state["loss"]}, finite.failures)

    def _penalty_grad(self, z: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The gradient of R, like z (variables, b, ...); each sample has permutations of its own."""
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            rows = leaf.transpose(0, 1).flatten(1)
            if self.regulariser == "norm":
                penalty = norm_penalty(rows)
            else:
                orders = torch.stack(
                    [
                        torch.stack([torch.randperm(rows.shape[1], generator=g) for g in generators])
                        for _ in range(self.n_permutations)
                    ]
                ).to(z.device)
                permuted = rows.expand(self.n_permutations, -1, -1).gather(2, orders)
                penalty = probability_penalty(permuted, self.size).mean(0)
            (grad,) = torch.autograd.grad(penalty.sum(), leaf)
        return grad

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


def probability_penalty(z: Tensor, size: int) -> Tensor:
    """-log p_1(M_1) - log p_2(M_2) of DNO, (..., d) -> (...); elements left over by the cut are not looked at."""
    k = min(size, z.shape[-1])
    m = z.shape[-1] // k
    vectors = z[..., : m * k].unflatten(-1, (m, k))
    mean = vectors.mean(-2).square().sum(-1)  # M_1^2
    spread = vectors.transpose(-1, -2) @ vectors / m - torch.eye(k, dtype=z.dtype, device=z.device)
    far = (1 + torch.linalg.matrix_norm(spread, 2)).sqrt() - 1 - math.sqrt(k / m)
    first = math.log(2 * k) - m * mean / (2 * k)
    second = math.log(2) - m * far.clamp_min(0).square() / 2
    return -first.clamp_max(0) - second.clamp_max(0)


def norm_penalty(z: Tensor) -> Tensor:
    """|z|^2 / 2 - (d - 1) log |z| of ReNO, (..., d) -> (...)."""
    squared = z.square().sum(-1)
    return squared / 2 - (z.shape[-1] - 1) / 2 * squared.log()
