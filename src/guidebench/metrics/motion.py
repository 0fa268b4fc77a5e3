"""How well motions do what was asked, and how well they still are what the text says."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.motion_prior import MotionPrior
from guidebench.models.readers.base import Reader
from guidebench.models.readers.motion_evaluator import MotionEvaluator
from guidebench.motion.objectives import obstacle_cost, path_error
from guidebench.problems import Problem, field
from guidebench.samples import SampleKind


class PathObjective(Metric):
    """Squared distance of the root from the wanted path, a mean over the frames.

    References: LGD (Song et al. 2023), Tab. 2: "objective", the loss over the number of frames.
    """

    paper = "LGD, Tab. 2"
    reads = ("path",)
    kind: ClassVar[SampleKind] = "motion"
    higher_is_better = False
    unit = "m²"
    protocol = "mean over the frames of the squared floor distance to a path walked at even speed"

    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        paths = field(problems, "path", "metric=path_objective")
        return path_error(images.detach(), paths) / images.shape[1]


class ObstacleObjective(Metric):
    """Squared distance of the end from the wanted one, and the price of the obstacle, over the number of frames.

    References: LGD (Song et al. 2023), Tab. 3 and Eq. 20: "objective", the loss over the number of frames.
    """

    paper = "LGD, Tab. 3"
    reads = ("path",)
    kind: ClassVar[SampleKind] = "motion"
    higher_is_better = False
    unit = ""
    protocol = "(squared floor distance of the end + sum of 100 sigmoid(-50 (d^2 - 1))) / frames"

    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        paths = field(problems, "path", "metric=obstacle_objective")
        obstacles = [getattr(problem, "obstacle", None) for problem in problems]
        return obstacle_cost(images.detach(), paths, obstacles) / images.shape[1]


class TextMotionDistance(Metric):
    """Distance between the embeddings of a motion and of its prompt, by HumanML3D's evaluator.

    Args:
        evaluator: the networks.

    References: LGD (Song et al. 2023), Tab. 2, 3 and 7: "embedding".
    """

    paper = "LGD, Tab. 2, 3 and 7"
    reads = ("prompt",)
    kind: ClassVar[SampleKind] = "motion"
    higher_is_better = False
    unit = ""

    def __init__(self, evaluator: MotionEvaluator) -> None:
        self.evaluator = evaluator

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.evaluator,)

    @property
    def protocol(self) -> str:
        return f"Euclidean distance of text and motion; {self.evaluator.network_id}"

    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        prompts = field(problems, "prompt", "metric=text_motion_distance")
        return self.evaluator.distances(images, prompts)


class MotionSurprise(Metric):
    """How improbable a walk is under its prompt: minus the exact prior's log-density, per number.

    Stands where the paper has the distance between embeddings of text and motion; motions of the exact prior itself
    have its entropy on average, and guidance that tears them away from it has more.

    Args:
        noise: standard deviation of the noise the density allows for, in the prior's space.
    """

    paper = "after LGD, Tab. 2 and 3"
    reads = ("prompt",)
    kind: ClassVar[SampleKind] = "motion"
    higher_is_better = False
    unit = "nats"

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise

    @property
    def protocol(self) -> str:
        return f"minus log-density of the floor velocities under the prompt's prior with noise {self.noise:g}"

    def fingerprint(self) -> str:
        return MotionPrior().fingerprint()

    @torch.no_grad()
    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        prompts = field(problems, "prompt", "metric=motion_surprise")
        prior = MotionPrior(images.shape[1])
        prior.load(images.device)
        density = prior.log_density(images, prompts, self.noise)
        return -density / (2 * images.shape[1])
