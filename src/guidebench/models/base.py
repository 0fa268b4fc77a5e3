"""What every adapter to a diffusion model offers, and classifier-free guidance as a wrapper over it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.samples import SampleKind


class DiffusionModel(ABC):
    """A pretrained diffusion model with frozen weights, in the space it diffuses in.

    Constructors take hyper-parameters only and touch neither disk nor network; `load` does.

    Subclasses declare, as literals:
        kind: what `decode` returns.
        conditioned_on: the field of a problem that `condition` reads, such as "prompt"; "" for none: `condition` then
            returns (b, 0), and classifier-free guidance has nothing to amplify.
        null: the value of that field that stands for no condition.
    """

    kind: ClassVar[SampleKind] = "image"
    conditioned_on: ClassVar[str] = "prompt"
    null: ClassVar[Any] = ""

    @abstractmethod
    def load(self, device: torch.device | str) -> None:
        """Read the weights (downloading them where the configuration names a hub), freeze them, move to `device`.

        Raises:
            WeightsError: missing, truncated, unsafe or ill-fitting weights.
        """

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen networks by name, after `load`; none where the model is a closed form."""
        return {}

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the network lives; defined after `load`."""

    @property
    @abstractmethod
    def schedule(self) -> NoiseSchedule:
        """The one noise schedule that the checkpoint was trained with."""

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of x_T without the batch axis."""

    @abstractmethod
    def condition(self, values: Sequence[Any]) -> Tensor:
        """Encode values of the field `conditioned_on`, (b, ...) in the order given; `null` is no condition."""

    def check_prompts(self, prompts: Sequence[str]) -> None:  # noqa: B027
        """Warn of what a whole run's prompts hold that the model cannot read; all at once, before the first batch."""

    @abstractmethod
    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        """Noise prediction eps_hat(x_t, t, cond), (b, ...), float32; differentiable in x_t and cond.

        Where alpha_t = 0, x_t is the noise, and the clean sample x0_hat is predicted instead (`Prediction.told`).

        Cost: one network row per sample.
        """

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """Samples as `kind` says, images about [0, 1] and not clamped, from the model's space; differentiable."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """x_0 of samples as `kind` says; differentiable."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the weights: a sample made with other weights is another sample."""


class Guided:
    """Classifier-free guidance: eps_uncond + cfg_scale (eps_cond - eps_uncond), one batched network call.

    The callable handed to samplers and gradient strategies. `cfg_scale` 1 is plain conditional prediction and costs
    one network row per sample instead of two; 0 is unconditional.

    Args:
        model: the network.
        cfg_scale: guidance weight w.
    """

    def __init__(self, model: DiffusionModel, cfg_scale: float) -> None:
        self.cfg_scale = cfg_scale
        self._model = model
        self._both = CountedModel(model.eps, rows=2)
        self._one = CountedModel(model.eps, rows=1)

    @cached_property
    def null(self) -> Tensor:
        """No condition, (1, ...); asked for where it is used, since a model may have none."""
        return self._model.condition([self._model.null])

    @staticmethod
    def rows(cfg_scale: float) -> int:
        """Network rows per sample of one guided prediction."""
        return 1 if cfg_scale in (0, 1) else 2

    @property
    def cost(self) -> Cost:
        """Network rows per sample spent so far, counted as they happen."""
        return self._both.cost + self._one.cost

    @cost.setter
    def cost(self, spent: Cost) -> None:
        self._both.cost, self._one.cost = Cost(), spent

    def __call__(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        """Guided noise prediction, (b, ...)."""
        if cond is None or self.cfg_scale == 0:
            return self.branch(x_t, t, self.null.expand(len(x_t), *self.null.shape[1:]))
        if self.cfg_scale == 1:
            return self.branch(x_t, t, cond)
        eps_uncond, eps_cond = self._both(
            torch.cat([x_t, x_t]), t, torch.cat([self.null.expand_as(cond), cond])
        ).chunk(2)
        return torch.lerp(eps_uncond, eps_cond, self.cfg_scale)

    def branch(self, x_t: Tensor, t: float, cond: Tensor) -> Tensor:
        """One branch alone, (b, ...): one network row per sample."""
        return self._one(x_t, t, cond)
