"""Diffusion models as plug-and-play priors: optimise a point, not a sample."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.prediction import Prediction
from guidebench.diffusion.random import METHOD, generator
from guidebench.diffusion.schedules import NoiseSchedule, TableSchedule
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.guidance import DecodedLoss
from guidebench.methods.posterior.likelihood import rowwise
from guidebench.problems import Problem
from guidebench.samplers.base import Chain, sample
from guidebench.samplers.ddim import DDIM


class DPnP(Method):
    r"""Optimise a clean point by denoising error and loss in turn, then sample the last part of the chain from it.

    For i = 0 .. n_opt - 1, at the time t_i = 800 a_i + 200 + U{-50 .. 50} of 1000, with
    a_i = (S - i) / (1.5 S) + (S - i) / (3 S) cos(i / 10) and S = n_opt:

        x <- Adamax(x, grad ||e - eps_hat(alpha x + sigma e, t_i)||^2),   e ~ N(0, I)
        x <- Adamax(x, grad scale l(x)),  its norm clipped to `clip` times a running mean of the first one's

    and ancestral sampling (DDIM, eta = 1) from t = 200 of 1000 on, at those of the sampler's times, started at x
    without noise. Cost: one forward and one backward of the network and `n_augmentations` losses per i, and a forward
    per stage of that end.

    The jitter of t_i is the same for all samples, so that a sample does not depend on its batch.

    Args:
        scale: lambda; 0 is unguided sampling itself.
        n_opt: S (paper: 200).
        rate: of Adamax.
        clip: of the loss's gradient.
        n_augmentations: evaluations of the loss, each with its own augmentations, averaged.

    References: Graikos et al., "Diffusion Models as Plug-and-Play Priors", NeurIPS 2022, Sec. 4.2, and its code.
    """

    paper = "Graikos et al. 2022, Sec. 4.2"

    def __init__(
        self,
        scale: float = 1.0,
        n_opt: int = 200,
        rate: float = 1.0,
        clip: float = 0.1,
        n_augmentations: int = 8,
    ) -> None:
        self.scale, self.n_opt, self.rate, self.clip = scale, n_opt, rate, clip
        self.n_augmentations = n_augmentations

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.scale == 0:
            return Unguided().generate(problems, setup)
        schedule, guided, streams = setup.model.schedule, setup.guided(), setup.streams(problems)
        cond, loss, finite = setup.condition(problems), DecodedLoss(setup, problems, streams), FiniteCheck()
        x = setup.x_T(streams) / schedule.prior_std
        state = {
            "x": x,
            "mean": torch.zeros_like(x),
            "peak": torch.zeros_like(x),
            "norm": x.new_zeros(len(x)),
            "loss": x.new_zeros(len(x), self.n_opt),
        }
        for i in setup.progress.steps(self.n_opt, state):
            streams.begin(i)
            noise = streams.normal(setup.model.sample_shape, METHOD)
            t = self._time(schedule, i)
            leaf = state["x"].requires_grad_()
            alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
            noisy = alpha_t * leaf + sigma_t * noise
            eps = Prediction.of_told(guided(noisy, t, cond), noisy, alpha_t, sigma_t).eps
            error = (noise - eps).flatten(1).square().sum()
            (grad,) = torch.autograd.grad(error, leaf)
            norm = grad.flatten(1).norm(dim=1)
            state["norm"] = 0.5 * state["norm"] + 0.5 * norm if i else norm
            self._adamax(state, grad, 2 * i + 1)
            leaf = state["x"].requires_grad_()
            value = loss(leaf.expand(self.n_augmentations, *leaf.shape)).mean(0)
            (grad,) = torch.autograd.grad(self.scale * value.sum(), leaf)
            factor = (self.clip * state["norm"] / grad.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1.0)
            self._adamax(state, rowwise(factor, grad) * grad, 2 * i + 2)
            state["loss"][:, i] = value.detach()
            finite("loss", value, i)
            finite("x", state["x"], i)
        for i, losses in enumerate(state["loss"].T):  # those of before an interruption too
            finite("loss", losses, i)
        tail = self._tail(setup)
        with torch.no_grad():
            end = sample(tail, guided, tail.init(state["x"]), cond=cond, noises=setup.noises(tail, streams))
        x0 = tail.output(end)
        parts = decoded(setup.model, x0, finite, self.n_opt)
        return Generation(parts, self.cost(setup), guided.cost, {"loss": state["loss"]}, finite.failures)

    def _adamax(self, state: dict[str, Tensor], grad: Tensor, n: int) -> None:
        """The n-th step (from 1) on "x" with the moments "mean" and "peak": Kingma & Ba 2015, Algorithm 2."""
        state["mean"] = 0.9 * state["mean"] + 0.1 * grad
        state["peak"] = torch.maximum(0.999 * state["peak"], grad.abs() + 1e-8)
        state["x"] = state["x"].detach() - self.rate / (1 - 0.9**n) * state["mean"] / state["peak"]

    def _time(self, schedule: NoiseSchedule, i: int) -> float:
        left = (self.n_opt - i) / self.n_opt
        jitter = torch.randint(-50, 51, (), generator=generator(0, f"step {i}", METHOD))
        return _at(schedule, 800 * left * (1 / 1.5 + math.cos(i / 10) / 3) + 200 + int(jitter))

    def _tail(self, setup: Setup) -> Chain:
        """Ancestral sampling from t = 200 of 1000 on, at the sampler's times; others may begin with more noise."""
        start = _at(setup.model.schedule, 200)
        times = setup.chain().times
        return DDIM(eta=1.0).chain(setup.model.schedule, (start, *(t for t in times if t < start)))

    def cost(self, setup: Setup) -> Cost:
        if self.scale == 0:
            return Unguided().cost(setup)
        rows = setup.rows * self.n_opt
        return Cost(nfe_fwd=rows + setup.rows * self._tail(setup).n_stages, nfe_bwd=rows)

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_opt * self.n_augmentations if self.scale else 0


def _at(schedule: NoiseSchedule, index: float) -> float:
    """The time that is `index` of 1000 from clean to noisy."""
    low = max(schedule.t_clean, 0.0)
    t = low + min(index, 999.0) / 999 * (schedule.t_max - low)
    return float(round(t)) if isinstance(schedule, TableSchedule) else t
