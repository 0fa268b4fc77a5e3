"""The linear Gaussian observation that PiGDM and DDRM solve, in the space that the model diffuses in."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.losses.linear_inverse import LinearObservation
from guidebench.methods.base import Setup
from guidebench.models.base import DiffusionModel
from guidebench.operators.linear import LinearOperator
from guidebench.problems import Problem


@dataclass(frozen=True)
class LinearModel:
    """y = H x_0 + sigma_y noise, x_0 in the model's space.

    Args:
        operator: H.
        y: observation, (b, ...).
        sigma_y: standard deviation of its noise.
    """

    operator: LinearOperator
    y: Tensor
    sigma_y: float

    def loss(self, x_0: Tensor) -> Tensor:
        """||y - H x_0||^2 of a batch, (b,): what histories show."""
        return (self.y - self.operator(x_0)).flatten(1).square().sum(1)


def linear_model(
    setup: Setup, problems: Sequence[Problem], streams: RandomStreams, where: str
) -> LinearModel:
    """The observation of the loss, carried over to the model's space.

    Args:
        setup: model and loss.
        problems: the batch.
        streams: its randomness.
        where: name of the method, for messages.

    Raises:
        ConfigError: the loss is not linear, or the model's space is no rescaling of the pixels'.
    """
    objective = setup.loss.bind(problems, streams)
    if not isinstance(objective, LinearObservation):
        raise ConfigError(
            f"method={where}: solves linear problems, and loss: {type(setup.loss).__name__} has no operator; choose "
            "loss=linear_inverse"
        )
    scale, offset = _affine(setup.model, where)
    shape = (1, *setup.model.sample_shape)
    constant = objective.operator(torch.full(shape, offset, device=objective.observation.device))
    return LinearModel(
        objective.operator, scale * objective.observation + constant, abs(scale) * objective.sigma_y
    )


def _affine(model: DiffusionModel, where: str) -> tuple[float, float]:
    """(k, c) of encode(image) = k image + c."""
    refused = ConfigError(
        f"method={where}: needs a model whose space is a rescaling of the pixels', and model: {type(model).__name__} "
        "is not one; choose a pixel-space model (embedded_pixels, adm256)"
    )
    levels = torch.tensor([0.0, 0.5, 1.0], device=model.device)
    images = levels.view(-1, *[1] * len(model.sample_shape)).expand(-1, *model.sample_shape)
    try:
        with torch.no_grad():
            encoded = model.encode(images)
    except RuntimeError as error:  # an encoder of images of another shape
        raise refused from error
    offset = float(encoded[0].mean())
    scale = float(encoded[2].mean()) - offset
    if encoded.shape != images.shape or not torch.allclose(encoded, scale * images + offset, atol=1e-4):
        raise refused
    return scale, offset
