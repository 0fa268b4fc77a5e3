"""The loop of score distillation, which its methods share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guidebench.artefacts.trainer import put_back
from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD, RandomStreams, generator
from guidebench.diffusion.schedules import NoiseSchedule, TableSchedule
from guidebench.errors import ConfigError
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, Use
from guidebench.methods.distillation.canvas import Canvas, View
from guidebench.methods.distillation.descent import Descent
from guidebench.methods.distillation.look import Look, Network
from guidebench.problems import Problem
from guidebench.samples import Part

Weighting = Literal["uniform", "sigma2", "fantasia3d"]
"""w(t): 1, sigma_t^2 (DreamFusion's), or alpha_t sigma_t^2."""


class Distillation(Method):
    """Descend on a canvas along the gradient that a frozen model's look at it gives; see the package's docstring.

    In step k, with z the canvas as it is rendered then, t ~ U(t_range) and eps ~ N(0, I):

        z_t = alpha_t z + sigma_t eps,   eps_u = eps_hat(z_t, t, null),   eps_c = eps_hat(z_t, t, prompt)
        parameters <- Adam( d/d(parameters) [ sum(stop(w(t) g) z) + penalty ] ),    g = gradient(look)

    The guidance weight w is the run's `cfg_scale`: eps_w = eps_u + w (eps_c - eps_u), so that 1 is plain conditional
    prediction; w = s + 1 where a code writes eps_c + s (eps_c - eps_u).

    Subclasses declare, as literals:
        evaluations: network rows of one look at one view.
        curves: what `gradient` logs.

    Args:
        canvas: what is optimised.
        descent: how.
        n_steps: optimisation steps.
        t_range: of the times, as shares of the schedule; indices of a table between both ends, both included.
        weighting: w(t); the 2-D experiments of LMC-SDS have 1.
        divide: the gradient by the guidance weight w, "scale the total loss by 1 / w".
        fixed_eps: keep one noise for the whole run; each method says what of it.
        jacobian: "identity", dz_t/dz left out as all released codes do, or "alpha", times alpha_t as the papers write.

    Differs from the papers: all problems of a seed are looked at at the same times, so that a batch asks the network
    once; the noise is each problem's own. Gradients are summed over a view, not averaged, whatever the batch.
    """

    uses: ClassVar[tuple[Use, ...]] = ()
    evaluations: int = 2
    curves: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        canvas: Canvas,
        descent: Descent,
        n_steps: int = 500,
        t_range: Sequence[float] = (0.02, 0.98),
        weighting: Weighting = "uniform",
        divide: bool = True,
        fixed_eps: bool = False,
        jacobian: Literal["identity", "alpha"] = "identity",
    ) -> None:
        if not 0 < t_range[0] < t_range[1] < 1:
            raise ConfigError(
                f"method.t_range={list(t_range)}: allowed are two shares of the schedule, 0 < first < second < 1"
            )
        self.canvas, self.descent, self.n_steps, self.t_range = canvas, descent, n_steps, tuple(t_range)
        self.weighting, self.divide, self.fixed_eps, self.jacobian = weighting, divide, fixed_eps, jacobian
        self.reads = canvas.reads

    @abstractmethod
    def gradient(self, look: Look) -> Tensor:
        """g, (n, ...): the direction in which z descends, before w(t) and 1 / w."""

    def null_prompts(self, prompts: Sequence[str]) -> list[str]:
        """What stands for no prompt, beside each prompt."""
        return [""] * len(prompts)

    def begin(self, setup: Setup) -> None:
        """Called before the first step: where a method takes what was learned for it."""

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        model, streams, kept = setup.model, setup.streams(problems), setup.streams(problems)
        network = Network(model, len(problems))
        setup.progress.counters.append(network)
        self.begin(setup)
        parameters = self.canvas.begin(problems, model)
        optimizer = self.descent.optimizer(parameters, self.canvas.rates)
        own = optimizer.tensors
        curves = ("gradient", "g_cond", "g_proj", *self.curves)
        state = own | {name: torch.zeros(len(problems), self.n_steps) for name in curves}
        for step in setup.progress.steps(self.n_steps, state):
            streams.begin(step)
            kept.begin(0)
            put_back(state, own)
            view = self.canvas.render(parameters, step, streams, model)
            noise = kept if self.fixed_eps else streams
            look = self._look(view, step, problems, noise, streams, network, setup.cfg_scale)
            gradient = self.weight(look) * self.gradient(look)
            if self.divide:
                gradient = gradient / setup.cfg_scale
            loss = (gradient.detach() * view.z).sum()
            optimizer.descend(loss if view.penalty is None else loss + view.penalty.sum(), step)
            for name, tensor in (("gradient", gradient), ("g_cond", look.g_cond), ("g_proj", look.g_proj)):
                look.log(name, tensor)
            for name in curves:
                values = look.logged[name].detach().float().cpu()
                state[name][:, step] = values.unflatten(0, (-1, len(problems))).mean(0)
        put_back(state, own)  # also where every step had been taken before
        finite = FiniteCheck()
        for step, norms in enumerate(state["gradient"].T):
            finite("gradient", norms, step)
        parts = {
            name: _shown(part, finite, self.n_steps)
            for name, part in self.canvas.result(parameters, model).items()
        }
        history = {name: state[name] for name in curves}
        return Generation(parts, network.cost, network.cost, history, finite.failures)

    def _look(
        self,
        view: View,
        step: int,
        problems: Sequence[Problem],
        noise: RandomStreams,
        streams: RandomStreams,
        network: Network,
        cfg_scale: float,
    ) -> Look:
        z, copies = view.z.detach(), len(view.z) // len(problems)
        rows = [*problems] * copies
        schedule = network.model.schedule
        times = [self.time(schedule, generator(p.seed, "", f"time@{step}")) for p in rows]
        t = torch.tensor(times, device=z.device)
        alpha_t, sigma_t = network.coefficients(t, z)
        eps = noise.copied(copies).normal(z.shape[1:], METHOD)
        z_t = alpha_t * z + sigma_t * eps
        words = list(view.words) or [""] * len(rows)
        field = network.model.conditioned_on
        values = [getattr(p, field, None) or network.model.null for p in rows]
        prompts = [value + more for value, more in zip(values, words, strict=True)]
        cond = network.condition([*self.null_prompts(prompts), *prompts])
        eps_u, eps_c = network(torch.cat([z_t, z_t]), t.repeat(2), cond).chunk(2)
        return Look(
            z=z,
            eps=eps,
            z_t=z_t,
            eps_u=eps_u,
            eps_c=eps_c,
            t=t,
            alpha_t=alpha_t,
            sigma_t=sigma_t,
            cfg_scale=cfg_scale,
            step=step,
            problems=rows,
            words=words,
            source=view.source,
            cond=cond,
            network=network,
            normal=lambda stream: streams.copied(copies).normal(z.shape[1:], stream),
        )

    def time(self, schedule: NoiseSchedule, draw: torch.Generator) -> float:
        """A time of `t_range`: an index of a table, else anything between."""
        low, high = self.t_range
        if isinstance(schedule, TableSchedule):
            first, last = (round(share * schedule.n_timesteps) for share in (low, high))
            return float(torch.randint(first, last + 1, (), generator=draw))
        share = low + (high - low) * float(torch.rand((), generator=draw))
        return schedule.t_min + share * (schedule.t_max - schedule.t_min)

    def weight(self, look: Look) -> Tensor:
        """w(t), with what is left of dz_t/dz, (n, 1, ...)."""
        weight = {
            "uniform": torch.ones_like(look.alpha_t),
            "sigma2": look.sigma_t**2,
            "fantasia3d": look.alpha_t * look.sigma_t**2,
        }[self.weighting]
        return weight * look.alpha_t if self.jacobian == "alpha" else weight

    def cost(self, setup: Setup) -> Cost:
        views = sum(self.canvas.copies(step) for step in range(self.n_steps))
        return Cost(nfe_fwd=self.evaluations * views)


def _shown(part: Part, finite: FiniteCheck, step: int) -> Part:
    """A part of the result, looked through for what is not finite; images are clamped to [0, 1]."""
    if part.kind not in ("image", "frames"):
        return part
    finite("sample", part.values, step)
    return Part(part.kind, part.values.clamp(0, 1))
