"""What every method declares and returns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import SAMPLER, X_T, RandomStreams
from guidebench.errors import NumericalError
from guidebench.gradients.base import GradientStrategy
from guidebench.losses.base import Loss
from guidebench.models.base import DiffusionModel, Guided
from guidebench.problems import Problem
from guidebench.progress import Progress
from guidebench.samplers.base import Chain, Noises, Sampler, draw_noises


@dataclass
class Setup:
    """The collaborators a method works with, loaded and on their device.

    Args:
        model: the pretrained model.
        sampler: how it is sampled.
        loss: what guides; methods with `needs_loss` use it.
        gradient: how to differentiate through a whole chain; methods with `needs_gradient` use it.
        cfg_scale: weight of classifier-free guidance.
        progress: hands out the steps of long loops.
    """

    model: DiffusionModel
    sampler: Sampler
    loss: Loss
    gradient: GradientStrategy
    cfg_scale: float
    progress: Progress = field(default_factory=Progress)

    def chain(self) -> Chain:
        """The sampler on the model's schedule."""
        return self.sampler.chain(self.model.schedule)

    def guided(self) -> Guided:
        """The model under classifier-free guidance, with its own cost counter."""
        guided = Guided(self.model, self.cfg_scale)
        self.progress.counters.append(guided)
        return guided

    def condition(self, problems: Sequence[Problem]) -> Tensor:
        """What the model is conditioned on, (b, ...): each problem's prompt; the null prompt where it has none."""
        return self.model.condition([getattr(problem, "prompt", "") for problem in problems])

    def streams(self, problems: Sequence[Problem]) -> RandomStreams:
        """The random streams of a batch, on the model's device."""
        return RandomStreams(problems, self.model.device)

    def x_T(self, streams: RandomStreams) -> Tensor:
        """Initial noise, (b, ...): a function of (seed, case) alone, the same for every method."""
        return self.model.schedule.prior_std * streams.normal(self.model.sample_shape, X_T)

    def noises(self, chain: Chain, streams: RandomStreams) -> Noises:
        """The noise of a stochastic sampler's stages."""
        return draw_noises(chain, lambda: streams.normal(self.model.sample_shape, SAMPLER))

    @property
    def rows(self) -> int:
        """Network rows per sample of one guided prediction."""
        return Guided.rows(self.cfg_scale)


class FiniteCheck:
    """Remembers where each row of a batch first became NaN or infinite; the other rows go on."""

    def __init__(self) -> None:
        self.failures: dict[int, NumericalError] = {}

    def __call__(self, name: str, tensor: Tensor, step: int) -> None:
        """Record rows of `tensor` (b, ...) that are not finite and were finite before."""
        finite = torch.isfinite(tensor.detach()).flatten(1).all(dim=1)
        for row in (~finite).nonzero().flatten().tolist():
            self.failures.setdefault(row, NumericalError(step, name, [row]))


@dataclass
class Generation:
    """What a method made of a batch of b problems.

    Args:
        samples: images (b, 3, H, W) in [0, 1], or whatever else the model's `kind` says.
        latents: the model-space samples, (b, ...).
        cost: network rows per sample.
        history: per-sample curves by name, each (b, steps).
        failures: rows that became non-finite; their samples count as failed.
    """

    samples: Tensor
    latents: Tensor
    cost: Cost
    history: dict[str, Tensor] = field(default_factory=dict)
    failures: dict[int, NumericalError] = field(default_factory=dict)


class Method(ABC):
    """A way to make samples. Constructors take hyper-parameters only; collaborators arrive in `generate`."""

    paper: ClassVar[str]
    handles: ClassVar[tuple[str, ...]]
    needs_loss: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False

    @abstractmethod
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        """Solve a batch of problems; row i depends on `problems[i]` alone."""

    @abstractmethod
    def cost(self, setup: Setup) -> Cost:
        """Network rows per sample that `generate` will spend; a promise that the tests count."""

    def loss_evaluations(self, setup: Setup) -> int:
        """Evaluations of decoder and loss with their backward, per sample; for estimates of time."""
        return 0


def decoded(model: DiffusionModel, x0: Tensor, finite: FiniteCheck, step: int) -> Tensor:
    """Final samples; images are clamped to [0, 1].

    Args:
        model: decodes.
        x0: model-space samples, (b, ...).
        finite: told of x0 and of the samples before the clamp, which would hide an infinity.
        step: number of steps that led to x0.
    """
    finite("x0", x0, step)
    with torch.no_grad():
        samples = model.decode(x0)
    finite(model.kind, samples, step)
    return samples.clamp(0, 1) if model.kind == "image" else samples
