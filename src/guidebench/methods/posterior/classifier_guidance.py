"""Classifier guidance by a classifier that was trained on noise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import NoisyObjective
from guidebench.methods.base import Setup
from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.stage import Stage
from guidebench.problems import Problem


class ClassifierGuidance(Guidance):
    """Add to the score the gradient of a classifier's log probability at x_t itself, at the true time.

        eps' = eps_hat + scale sigma_t grad_{x_t} l(x_t, t),   l = -log p(y | x_t, t)

    Cost per stage: one forward of the network, one forward and backward of the loss.

    Args:
        scale: w (1 is Bayes' rule; 10 in the authors' README for the unconditional 256 x 256 model); 0 is unguided
            sampling itself.

    Raises:
        ConfigError: the loss has no networks that know noise.

    References: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, Algorithm 2.
    """

    paper = "Dhariwal & Nichol 2021, Algorithm 2"
    backpropagates = False

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def bind(self, setup: Setup, problems: Sequence[Problem], streams: RandomStreams) -> NoisyObjective:
        return setup.noisy_objective(problems, streams)

    def guide(self, stage: Stage) -> Tensor:
        with torch.enable_grad():
            leaf = stage.x_t.clone().requires_grad_()
            loss = stage.loss(leaf, stage.t)
            (grad,) = torch.autograd.grad(loss.sum(), leaf)
        stage.logged["loss"] = loss.detach()
        return stage.scored(-self.scale * grad)
