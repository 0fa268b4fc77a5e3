"""DOODL: direct optimisation of diffusion latents through the whole sampling chain."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD
from guidebench.gradients.base import ChainRun
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.problems import Problem
from guidebench.samplers.base import State, sample

_VARIANTS = {
    "paper": {"gradient_weight": 1.0, "noise_std": 1e-2},
    "official": {"gradient_weight": 0.5, "noise_std": 1e-4},
}


class DOODL(Method):
    r"""Optimise x_T by the gradient of a loss on the final image, n_opt times.

    For m = 1 .. n_opt, with (x, y) the coupled latents and c the loss:

        L = scale (c(D(x_0)) + c(D(y_0))) ;   g = gradient_weight * mean over the members of dL/d(x_T, y_T)
        g <- clip(g, -k, k) ;   v <- momentum v + g ;   (x_T, y_T) <- (x_T, y_T) - v + noise_std xi
        average the members ;   rescale to the norm of the first x_T

    and a last sampling pass decodes x_0. Written for EDICT, whose pair it optimises; any sampler that the gradient
    strategy can differentiate works, with as many members as its state starts with.

    Args:
        scale: lambda, the weight of the loss (paper: 0.1 for CLIP text).
        n_opt: optimisation steps M >= 0; 0, or `scale` 0, is unguided sampling itself.
        momentum: of the velocity v.
        clip: k, the elementwise bound of a gradient, before momentum.
        noise_std: standard deviation of the perturbation xi; null takes the variant's.
        gradient_weight: factor on the mean gradient; null takes the variant's.
        tied: average the members of gradient and latents, which keeps the pair a copy of one x_T.
        renormalize: rescale each latent to the norm it began with.
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
        image_loss = setup.loss.bind(problems, streams)
        finite = FiniteCheck()

        def objective(final: State) -> Tensor:
            # Summed, so that each member's gradient is its own; `update` weighs them.
            members = [_linearised(lambda x0: image_loss(setup.model.decode(x0)), x0) for x0 in final]
            return self.scale * torch.stack(members).sum(dim=0)

        members = chain.init(setup.x_T(streams))
        radius = [_norm(x) for x in members]
        velocity = tuple(torch.zeros_like(x) for x in members)
        losses = []
        for step in range(self.n_opt):
            result = setup.gradient.value_and_grad(ChainRun(chain, guided, members, cond=cond), objective)
            losses.append(result.value / (self.scale * len(members)))
            finite("gradient", torch.stack(result.state_grad, dim=1), step)
            noise = self.noise_std * streams.normal(setup.model.sample_shape, METHOD)
            members, velocity = self.update(members, velocity, result.state_grad, noise, radius)
            finite("x_T", torch.stack(members, dim=1), step)
        with torch.no_grad():
            x0 = chain.output(sample(chain, guided, members, cond=cond))
        parts = decoded(setup.model, x0, finite, self.n_opt)
        return Generation(parts, guided.cost, {"loss": torch.stack(losses, dim=1)}, finite.failures)

    def update(
        self, members: State, velocity: State, grads: State, noise: Tensor, radius: Sequence[Tensor]
    ) -> tuple[State, State]:
        """One optimiser step on latents (b, ...), one entry per member.

        Args:
            members: latents x_T of each member.
            velocity: momentum buffers; zeros before the first step.
            grads: gradient of the summed loss with respect to each member.
            noise: perturbation shared by the members, outside clip and momentum.
            radius: norms to return to, (b, 1, ...).

        Returns:
            New latents and new velocity.
        """
        grads = tuple(self.gradient_weight * g for g in grads)
        if self.tied:
            grads = _averaged(grads)
        velocity = tuple(
            self.momentum * v + g.clamp(-self.clip, self.clip) for v, g in zip(velocity, grads, strict=True)
        )
        members = tuple(x - v + noise for x, v in zip(members, velocity, strict=True))
        if self.tied:
            members = _averaged(members)
        if self.renormalize:
            members = tuple(x * (r / _norm(x)) for x, r in zip(members, radius, strict=True))
        return members, velocity

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
        members = 2 if setup.sampler.is_reversible else 1
        return 0 if self._unguided else self.n_opt * members


def _linearised(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """loss(x), (b,), with its gradient attached but its graph freed: one decoder and one loss in memory at a time."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = loss(leaf)
        (grad,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach() + (grad * (x - x.detach())).flatten(1).sum(dim=1)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each row of (b, ...), shaped to broadcast against it."""
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)


def _averaged(members: State) -> State:
    """Every member replaced by the mean over members."""
    mean = torch.stack(members).mean(dim=0)
    return tuple(mean for _ in members)
