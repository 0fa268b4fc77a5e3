"""What score distillation optimises, and how the model sees it: pictures, latents."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from guidebench.diffusion.random import METHOD, RandomStreams
from guidebench.errors import ConfigError
from guidebench.models.base import DiffusionModel
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, field
from guidebench.samples import LATENTS, Part

Init = Literal["grey", "source"]
"""What a canvas shows before the first step: half grey, or the problem's source picture."""


@dataclass
class View:
    """A canvas as the model sees it in one step: n = copies x b rows, row i of problem i % b.

    Args:
        z: in the model's space, (n, ...), differentiable in the canvas's parameters.
        source: the same view of the problem's source picture, where the canvas began with one.
        words: what stands behind the prompt of each row, n of them; none for nothing.
        penalty: what else descends, (b,): its gradient is added to the distilled one.
    """

    z: Tensor
    source: Tensor | None = None
    words: Sequence[str] = ()
    penalty: Tensor | None = None


class Canvas(ABC):
    """Something that can be rendered and updated; one object holds hyper-parameters only, its state is `parameters`.

    Attributes:
        reads: fields of a problem that it needs.
        rates: factors on the learning rate, by name of a parameter; 1 for the others.
    """

    reads: tuple[str, ...] = ()
    rates: Mapping[str, float] = {}

    @abstractmethod
    def begin(self, problems: Sequence[Problem], model: DiffusionModel) -> dict[str, Tensor]:
        """The parameters before the first step: leaf tensors that want a gradient; their rows never mix."""

    @abstractmethod
    def render(
        self, parameters: Mapping[str, Tensor], step: int, streams: RandomStreams, model: DiffusionModel
    ) -> View:
        """How the model sees them in this step; whatever is drawn comes from `streams`."""

    def copies(self, step: int) -> int:
        """Views of each problem's canvas in this step."""
        return 1

    @abstractmethod
    def result(self, parameters: Mapping[str, Tensor], model: DiffusionModel) -> dict[str, Part]:
        """The parts of the finished samples; "sample" among them, images not clamped yet."""


class Latents(Canvas):
    """The model's own space: z itself is optimised, and decoded in the end.

    Args:
        init: "grey", or "source", the problem's source picture encoded.

    References: Hertz et al., "Delta Denoising Score", ICCV 2023, who optimise latents.
    """

    def __init__(self, init: Init = "grey") -> None:
        self.init = init
        self.reads = ("source",) if init == "source" else ()
        self._source: Tensor | None = None

    def begin(self, problems: Sequence[Problem], model: DiffusionModel) -> dict[str, Tensor]:
        images = first_pictures(self.init, problems, model, picture_side(model))
        with torch.no_grad():
            z = model.encode(images)
        self._source = z if self.init == "source" else None
        return {"z": z.clone().requires_grad_()}

    def render(
        self, parameters: Mapping[str, Tensor], step: int, streams: RandomStreams, model: DiffusionModel
    ) -> View:
        return View(parameters["z"], self._source)

    def result(self, parameters: Mapping[str, Tensor], model: DiffusionModel) -> dict[str, Part]:
        z = parameters["z"].detach()
        with torch.no_grad():
            return {"sample": Part(model.kind, model.decode(z)), LATENTS: Part("tensors", z)}


class Pixels(Canvas):
    """A picture of any size. The model sees all of it, resized, and later patches of it.

    The first `whole_steps` steps show the whole picture; each later one shows `n_patches` square patches, their sides
    uniform between the model's and the canvas's, anywhere. Both are resized (bilinear, antialiased) to the model's
    size before noise is added, which therefore stays white. Pixels are optimised in [-1, 1] and not clamped before the
    end.

    Args:
        size: side of the canvas; null for the model's own.
        init: "grey", or "source".
        whole_steps: steps before patches begin; null for all.
        n_patches: K, patches of one step; each asks the network for itself, and their gradients add up.
        l2_weight: of |x - x_source|^2, summed over a picture.

    References: Alldieck et al., "Score Distillation Sampling with Learned Manifold Corrective", ECCV 2024, Sec. 5,
    which leaves the law of the patches' sizes open.
    """

    def __init__(
        self,
        size: int | None = None,
        init: Init = "grey",
        whole_steps: int | None = None,
        n_patches: int = 2,
        l2_weight: float = 0.0,
    ) -> None:
        if l2_weight and init != "source":
            raise ConfigError(
                "method.canvas.l2_weight: it draws towards the source picture; set method.canvas.init=source"
            )
        self.size, self.init, self.whole_steps = size, init, whole_steps
        self.n_patches, self.l2_weight = n_patches, l2_weight
        self.reads = ("source",) if init == "source" else ()
        self._source: Tensor | None = None
        self._side = 0

    def begin(self, problems: Sequence[Problem], model: DiffusionModel) -> dict[str, Tensor]:
        self._side = picture_side(model)
        images = 2 * first_pictures(self.init, problems, model, self.size or self._side) - 1
        self._source = images if self.init == "source" else None
        return {"pixels": images.clone().requires_grad_()}

    def render(
        self, parameters: Mapping[str, Tensor], step: int, streams: RandomStreams, model: DiffusionModel
    ) -> View:
        pixels, source = parameters["pixels"], self._source
        boxes = self.boxes(step, streams, pixels.shape[-1])
        penalty = None
        if self.l2_weight and source is not None:
            penalty = self.l2_weight * (pixels - source).square().flatten(1).sum(1)
        return View(
            model.encode(self.cut(pixels, boxes) / 2 + 0.5),
            None if source is None else model.encode(self.cut(source, boxes) / 2 + 0.5).detach(),
            penalty=penalty,
        )

    def copies(self, step: int) -> int:
        return 1 if self.whole_steps is None or step < self.whole_steps else self.n_patches

    def boxes(self, step: int, streams: RandomStreams, size: int) -> list[tuple[int, int, int]]:
        """(top, left, side) of each view of each picture, patches outermost."""
        copies = self.copies(step)
        generators = streams.copied(copies).generators(METHOD + " patches")
        if self.whole_steps is None or step < self.whole_steps:
            return [(0, 0, size)] * len(generators)
        boxes = []
        for generator in generators:
            side = self._between(min(self._side, size), size, generator)
            top, left = (self._between(0, size - side, generator) for _ in range(2))
            boxes.append((top, left, side))
        return boxes

    @staticmethod
    def _between(low: int, high: int, generator: torch.Generator) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def cut(self, pixels: Tensor, boxes: Sequence[tuple[int, int, int]]) -> Tensor:
        """The patches (n, 3, side, side) at the model's size of pictures (b, 3, H, W), n a multiple of b."""
        cut = [
            resized(pixels[i % len(pixels)][None, :, top : top + side, left : left + side], self._side)
            for i, (top, left, side) in enumerate(boxes)
        ]
        return torch.cat(cut)

    def result(self, parameters: Mapping[str, Tensor], model: DiffusionModel) -> dict[str, Part]:
        return {"sample": Part("image", parameters["pixels"].detach() / 2 + 0.5)}


def picture_side(model: DiffusionModel) -> int:
    """Side in pixels of what the model decodes."""
    with torch.no_grad():
        return int(model.decode(torch.zeros(1, *model.sample_shape, device=model.device)).shape[-1])


def first_pictures(init: Init, problems: Sequence[Problem], model: DiffusionModel, size: int) -> Tensor:
    """What canvases begin with, (b, 3, size, size) in [0, 1]."""
    if init == "grey":
        return torch.full((len(problems), 3, size, size), 0.5, device=model.device)
    pictures = field(problems, "source", "method.canvas")
    return torch.cat([resized(to_tensor([p.load()], model.device), size) for p in pictures])


def resized(images: Tensor, size: int) -> Tensor:
    """Images (b, c, H, W) at another size; unchanged where they have it."""
    if images.shape[-1] == images.shape[-2] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
