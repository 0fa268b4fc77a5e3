"""What every method declares and returns."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import SAMPLER, X_T, RandomStreams
from guidebench.errors import ConfigError, NumericalError
from guidebench.gradients.base import GradientStrategy
from guidebench.losses.base import Loss, NoisyObjective, Objective
from guidebench.losses.checked import checked
from guidebench.models.base import DiffusionModel, Guided
from guidebench.problems import Problem
from guidebench.progress import Progress
from guidebench.samplers.base import Chain, Noises, Sampler
from guidebench.samples import LATENTS, Part

Use = Literal["sampler", "loss", "gradient", "artefact"]
"""A collaborator that a method may declare."""


class _Undeclared:
    """Stands for a collaborator that a method did not declare, and says so when it is used all the same."""

    def __init__(self, use: Use) -> None:
        self._use = use

    def __getattr__(self, name: str) -> NoReturn:
        raise ConfigError(
            f"method: it uses the {self._use} and does not declare it; add {self._use!r} to its class's `uses`"
        )


_NO_SAMPLER: Any = _Undeclared("sampler")
_NO_LOSS: Any = _Undeclared("loss")
_NO_GRADIENT: Any = _Undeclared("gradient")
_NO_ARTEFACT: Any = _Undeclared("artefact")


@dataclass
class Setup:
    """The collaborators a method works with, loaded and on their device.

    Args:
        model: the pretrained model.
        sampler: how it is sampled.
        loss: what guides.
        gradient: how to differentiate through a whole chain.
        cfg_scale: weight of classifier-free guidance.
        artefact: the weights of what was learned, by the name that it has among the method's parameters ("embedding",
            or "embeddings.smile" in a mapping of several).
        progress: hands out the steps of long loops.
    """

    model: DiffusionModel
    sampler: Sampler = _NO_SAMPLER
    loss: Loss = _NO_LOSS
    gradient: GradientStrategy = _NO_GRADIENT
    cfg_scale: float = 1.0
    artefact: Mapping[str, Mapping[str, Tensor]] = _NO_ARTEFACT
    progress: Progress = field(default_factory=Progress)

    def chain(self) -> Chain:
        """The sampler on the model's schedule."""
        return self.sampler.chain(self.model.schedule)

    def guided(self) -> Guided:
        """The model under classifier-free guidance, with its own cost counter."""
        guided = Guided(self.model, self.cfg_scale)
        self.progress.counters.append(guided)
        return guided

    def learned(self, name: str) -> Mapping[str, Tensor]:
        """The weights of an artefact on the model's device: of its name among the method's parameters.

        Raises:
            ConfigError: the method has no such artefact.
        """
        weights = self.artefact.get(name)
        if weights is None:
            raise ConfigError(
                f"method.{name}: nothing was learned for it; there are {', '.join(self.artefact) or 'no artefacts'}"
            )
        return weights

    def condition(self, problems: Sequence[Problem]) -> Tensor:
        """What the model is conditioned on, (b, ...): the field of each problem that it reads, or its null value."""
        values = [getattr(problem, self.model.conditioned_on, None) for problem in problems]
        return self.model.condition([self.model.null if value is None else value for value in values])

    def streams(self, problems: Sequence[Problem]) -> RandomStreams:
        """The random streams of a batch, on the model's device."""
        return RandomStreams(problems, self.model.device)

    def objective(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        """The loss of a batch, which refuses to return anything but one differentiable number per sample."""
        return checked(self.loss.bind(problems, streams), type(self.loss).__name__)

    def noisy_objective(self, problems: Sequence[Problem], streams: RandomStreams) -> NoisyObjective:
        """The same of noisy samples."""
        return checked(self.loss.bind_noisy(problems, streams), type(self.loss).__name__)

    def x_T(self, streams: RandomStreams) -> Tensor:
        """Initial noise, (b, ...): a function of (seed, case) alone, the same for every method."""
        return self.model.schedule.prior_std * streams.normal(self.model.sample_shape, X_T)

    def noises(self, chain: Chain, streams: RandomStreams) -> Noises:
        """The noise of a stochastic sampler's stages, each with a key of its own."""
        keys = (f"{SAMPLER} {k}" if chain.needs_noise(k) else None for k in range(chain.n_stages))
        return [None if key is None else streams.normal(self.model.sample_shape, key) for key in keys]

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
        finite = torch.isfinite(tensor.detach()).reshape(len(tensor), -1).all(dim=1)
        for row in (~finite).nonzero().flatten().tolist():
            self.failures.setdefault(row, NumericalError(step, name, [row]))


@dataclass
class Generation:
    """What a method made of a batch of b problems.

    Args:
        parts: what each sample is made of, by name; "sample" is what tables show and metrics read unless they say
            otherwise.
        cost: network rows per sample of the algorithm, as `Method.cost` declares them.
        spent: network rows per sample that really ran; fewer where memory allowed to keep what else is computed twice.
        history: per-sample curves by name, each (b, steps).
        failures: rows that became non-finite; their samples count as failed.
    """

    parts: dict[str, Part]
    cost: Cost
    spent: Cost
    history: dict[str, Tensor] = field(default_factory=dict)
    failures: dict[int, NumericalError] = field(default_factory=dict)

    @property
    def samples(self) -> Any:
        """The values of the part "sample": images (b, 3, H, W) in [0, 1], or what else the model's `kind` says."""
        return self.parts["sample"].values

    @property
    def latents(self) -> Tensor:
        """The model-space samples, (b, ...), of a method that samples a chain."""
        latents: Tensor = self.parts[LATENTS].values
        return latents


class Method(ABC):
    """A way to make samples. Constructors take hyper-parameters only; collaborators arrive in `generate`.

    Subclasses declare, as literals:
        paper: where the method comes from.
        reads: fields of a problem that it reads itself, beside what the model and the loss read.
        uses: the collaborators that its samples depend on, beside the model.
        conditions: whether it says itself what the model is conditioned on, whatever the problems give.
        keeps_noise: whether it keeps a stochastic sampler's noise, so that a gradient belongs to one path.
    """

    paper: ClassVar[str]
    reads: tuple[str, ...] = ()
    uses: ClassVar[tuple[Use, ...]] = ("sampler", "loss")
    conditions: ClassVar[bool] = False
    keeps_noise: ClassVar[bool] = False
    revision: ClassVar[int] = 2

    @abstractmethod
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        """Solve a batch of problems; row i depends on `problems[i]` alone."""

    @abstractmethod
    def cost(self, setup: Setup) -> Cost:
        """Network rows per sample that the algorithm asks for, whatever the memory; a promise that the tests count."""

    def loss_evaluations(self, setup: Setup) -> int:
        """Evaluations of decoder and loss with their backward, per sample; for estimates of time."""
        return 0


def decoded(model: DiffusionModel, x0: Tensor, finite: FiniteCheck, step: int) -> dict[str, Part]:
    """The parts of a sampled chain: the decoded sample, images clamped to [0, 1], and its latents.

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
    shown = samples.clamp(0, 1) if model.kind == "image" else samples
    return {"sample": Part(model.kind, shown), LATENTS: Part("tensors", x0)}
