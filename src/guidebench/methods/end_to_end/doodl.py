"""DOODL: direct optimisation of diffusion latents through the whole sampling chain."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD
from guidebench.gradients.base import ChainRun, x_T_grad
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import Chain, State, sample

_VARIANTS = {
    "paper": {"gradient_weight": 1.0, "noise_std": 1e-2},
    "official": {"gradient_weight": 0.5, "noise_std": 1e-4},
}


class DOODL(Method):
    r"""Optimise x_T by the gradient of a loss on the final image, n_opt times.

    For m = 1 .. n_opt, with c the loss:

        L = scale c(D(x_0(x_T))) ;   g = gradient_weight dL/dx_T
        g <- clip(g, -k, k) ;   v <- momentum v + g ;   x_T <- x_T - v + noise_std xi ;   rescale to the first norm

    and a last sampling pass decodes x_0. EDICT's chain has two members: both begin at x_T, and L is the mean of their
    losses. Untied, each is a variable of its own, with its gradient of the sum of the losses.

    Args:
        scale: lambda, the weight of the loss (paper: 0.1 for CLIP text).
        n_opt: optimisation steps M >= 0; 0, or `scale` 0, is unguided sampling itself.
        momentum: of the velocity v.
        clip: k, the elementwise bound of a gradient, before momentum.
        noise_std: standard deviation of the perturbation xi; null takes the variant's.
        gradient_weight: factor on the mean gradient; null takes the variant's.
        tied: optimise one x_T; otherwise the members of a coupled chain, each for itself.
        renormalize: rescale x_T to the norm it began with.
        variant: "paper" (gradient of the pair's mean loss, noise variance 1e-4) or "official" (the released code:
            half that gradient, noise standard deviation 1e-4). Explicit values win over the variant's.

    Differs from the paper: the paper's perturbation N(0, 1e-4 I) is read as it is printed, a variance, so `paper` draws
    with standard deviation 1e-2, a hundred times the released code's. Algorithm 1 omits averaging and renormalisation,
    its text has both after every update; they are on. Master latents, momentum and norms are float32. The released
    code never decodes its last update; here the image belongs to the last latents, at the cost of one sampling pass
    without gradient.

    References: Wallace, Gokul, Ermon, Naik, "End-to-End Diffusion Latent Optimization Improves Classifier Guidance",
    ICCV 2023, Algorithm 1 and Sec. 4.
    """

    paper = "DOODL, Algorithm 1"
    uses = ("sampler", "loss", "gradient")

    def __init__(
        self,
        scale: float = 0.1,
        n_opt: int = 50,
        momentum: float = 0.9,
        clip: float = 1e-3,
        noise_std: float | None = None,
        gradient_weight: float | None = None,
        tied: bool = True,
        renormalize: bool = True,
        variant: Literal["paper", "official"] = "paper",
    ) -> None:
        self.scale, self.n_opt, self.momentum, self.clip = scale, n_opt, momentum, clip
        self.tied, self.renormalize, self.variant = tied, renormalize, variant
        preset = _VARIANTS[variant]
        self.noise_std = preset["noise_std"] if noise_std is None else noise_std
        self.gradient_weight = preset["gradient_weight"] if gradient_weight is None else gradient_weight

    @property
    def _unguided(self) -> bool:
        return self.scale == 0 or self.n_opt == 0

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self._unguided:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        cond = setup.condition(problems)
        image_loss = setup.objective(problems, streams)
        finite = FiniteCheck()

        def objective(final: State) -> Tensor:
            # Summed, so that each member's gradient is its own.
            losses = [
                _linearised(lambda x0: image_loss(setup.model.decode(x0)), x0) for x0 in chain.samples(final)
            ]
            return self.scale * torch.stack(losses).sum(dim=0)

        x_T = setup.x_T(streams)
        x_T = x_T[None] if self.tied else torch.stack([x_T] * chain.n_members)
        radius = _norm(x_T)
        state = {
            "x_T": x_T,
            "velocity": torch.zeros_like(x_T),
            "loss": x_T.new_zeros(x_T.shape[1], self.n_opt),
        }
        for step in setup.progress.steps(self.n_opt, state):
            streams.begin(step)
            start = self._start(chain, state["x_T"])
            result = setup.gradient.value_and_grad(ChainRun(chain, guided, start, cond=cond), objective)
            if len(state["x_T"]) == 1:
                grad = x_T_grad(chain, result.state_grad)[None] / chain.n_members
            else:
                grad = torch.stack(result.state_grad)
            finite("loss", result.value, step)
            finite("gradient", grad.transpose(0, 1), step)
            noise = self.noise_std * streams.normal(setup.model.sample_shape, METHOD)
            state["loss"][:, step] = result.value / (self.scale * chain.n_members)
            state["x_T"], state["velocity"] = self.update(
                state["x_T"], state["velocity"], grad, noise, radius
            )
            finite("x_T", state["x_T"].transpose(0, 1), step)
        for step, losses in enumerate(state["loss"].T):  # those of before an interruption too
            finite("loss", losses, step)
        with torch.no_grad():
            x0 = chain.output(sample(chain, guided, self._start(chain, state["x_T"]), cond=cond))
        parts = decoded(setup.model, x0, finite, self.n_opt)
        return Generation(parts, self.cost(setup), guided.cost, {"loss": state["loss"]}, finite.failures)

    def _start(self, chain: Chain, x_T: Tensor) -> State:
        """The initial state from x_T, (1, b, ...) tied, (members, b, ...) untied."""
        return chain.init(x_T[0]) if len(x_T) == 1 else tuple(x_T)

    def update(
        self, x_T: Tensor, velocity: Tensor, grad: Tensor, noise: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One optimiser step.

        Args:
            x_T: latents, (members, b, ...); one member where they are tied.
            velocity: momentum buffers; zeros before the first step.
            grad: gradient of the loss with respect to each latent.
            noise: perturbation shared by the members, outside clip and momentum, (b, ...).
            radius: norms to return to, broadcastable.

        Returns:
            New latents and new velocity.
        """
        grad = (self.gradient_weight * grad).clamp(-self.clip, self.clip)
        velocity = self.momentum * velocity + grad
        x_T = x_T - velocity + noise
        return x_T * (radius / _norm(x_T)) if self.renormalize else x_T, velocity

    def cost(self, setup: Setup) -> Cost:
        chain = setup.chain()
        if self._unguided:
            return Unguided().cost(setup)
        once = setup.gradient.cost(chain)
        return Cost(
            nfe_fwd=setup.rows * (self.n_opt * once.nfe_fwd + chain.n_stages),
            nfe_bwd=setup.rows * self.n_opt * once.nfe_bwd,
        )

    def loss_evaluations(self, setup: Setup) -> int:
        return 0 if self._unguided else self.n_opt * setup.chain().n_members


def _linearised(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """loss(x), (b,), with its gradient attached but its graph freed: one decoder and one loss in memory at a time."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = loss(leaf)
        (grad,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach() + (grad * (x - x.detach())).flatten(1).sum(dim=1)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each latent of (members, b, ...), shaped to broadcast against them."""
    return torch.linalg.vector_norm(x, dim=tuple(range(2, x.ndim)), keepdim=True)
