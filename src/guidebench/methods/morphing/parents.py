"""Both people of each morph, encoded; and what a blend of them is to the method that samples it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.random import RandomStreams
from guidebench.methods.base import Setup
from guidebench.methods.morphing.blending import Interpolation, blend, lerp
from guidebench.methods.morphing.encoders import Encoder
from guidebench.methods.morphing.landmarks import warped_average
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, field
from guidebench.samplers.base import Chain, Noises

_ENCODER = "encoder"  # the stream of what encoders draw

PreMorph = Literal["none", "average", "warp"]
"""What is encoded into noise: each picture itself, the average of both, or the average of both warped to the same
shape (`warped_average`). The semantic codes are always those of the pictures themselves."""


@dataclass
class Blended(Setup):
    """A setup in which sampling starts at a blend instead of at noise and at the problems' own conditions.

    Args:
        start: x_T, (b, ...).
        cond: what the model is conditioned on, (b, ...).
        recorded: noises of the sampler's stochastic stages; None draws them anew.
    """

    start: Tensor = dataclasses.field(kw_only=True)
    cond: Tensor = dataclasses.field(kw_only=True)
    recorded: Noises | None = dataclasses.field(kw_only=True, default=None)

    def condition(self, problems: Sequence[Problem]) -> Tensor:
        return self.cond

    def x_T(self, streams: RandomStreams) -> Tensor:
        return self.start

    def noises(self, chain: Chain, streams: RandomStreams) -> Noises:
        return super().noises(chain, streams) if self.recorded is None else self.recorded


@dataclass(frozen=True)
class Parents:
    """Codes and noises of both people of b morphs.

    Args:
        setup: model and sampler.
        cond: semantic codes of the first and of the second, each (b, ...).
        x_T: noises, each (b, ...).
        noises: recorded noises of each, per stage, where the encoder records them.
        cost: network rows per morph that encoding took.
    """

    setup: Setup
    cond: tuple[Tensor, Tensor]
    x_T: tuple[Tensor, Tensor]  # noqa: N815
    noises: tuple[Noises | None, Noises | None]
    cost: Cost

    def blended(
        self,
        weight: Tensor | float,
        interpolation: Interpolation = "slerp",
        cond_weight: Tensor | float | None = None,
    ) -> Blended:
        """The setup that starts at a blend; recorded noises are blended stage by stage as x_T is.

        Args:
            weight: of the second, (b,) or one for all.
            interpolation: of the noises; semantic codes are blended on the line.
            cond_weight: of the second's semantic code; None = `weight`.
        """
        first, second = self.noises
        recorded = None
        if first is not None and second is not None:
            recorded = tuple(
                None if a is None or b is None else blend(a, b, weight, interpolation)
                for a, b in zip(first, second, strict=True)
            )
        return Blended(
            **{f.name: getattr(self.setup, f.name) for f in dataclasses.fields(Setup)},
            start=blend(*self.x_T, weight, interpolation),
            cond=lerp(*self.cond, weight if cond_weight is None else cond_weight),
            recorded=recorded,
        )


@torch.no_grad()
def encode_parents(
    problems: Sequence[Problem], setup: Setup, encoder: Encoder, pre_morph: PreMorph = "none"
) -> Parents:
    """Encode both people of every problem, in one batch.

    Args:
        problems: b of them, with the fields a and b (and landmarks, for the pre-morph "warp").
        setup: model and sampler.
        encoder: picture to noise.
        pre_morph: see `PreMorph`.
    """
    model = setup.model
    pictures = [*field(problems, "a", "method"), *field(problems, "b", "method")]
    images = to_tensor([picture.load() for picture in pictures], model.device)
    cond = model.condition(pictures)
    if pre_morph == "average":
        images = images.unflatten(0, (2, -1)).mean(dim=0).repeat(2, 1, 1, 1)
    elif pre_morph == "warp":
        images = warped_average(images, problems).repeat(2, 1, 1, 1)
    counted = CountedModel(model.eps, rows=2)
    streams = RandomStreams(problems, model.device, copies=2)
    encoding = encoder.encode(
        setup, counted, model.encode(images), cond, lambda: streams.normal(model.sample_shape, _ENCODER)
    )
    halves = [n.chunk(2) if n is not None else (None, None) for n in encoding.noises or ()]
    first, second = (tuple(n[i] for n in halves) if halves else None for i in (0, 1))
    a, b = cond.chunk(2)
    x_a, x_b = encoding.x_T.chunk(2)
    return Parents(setup, (a, b), (x_a, x_b), (first, second), counted.cost)
