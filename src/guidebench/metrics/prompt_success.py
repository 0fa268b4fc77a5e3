"""Prompt success: the share of images that show what the prompt asked for."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.models.readers.base import Reader
from guidebench.pixels import to_uint8
from guidebench.problems import Problem, field


class Judge(Protocol):
    """Decides whether an image meets a prompt; lives with the world that knows the answer."""

    @property
    def name(self) -> str:
        """Names the judge and the version of its rules; a stored verdict of another version is not read."""

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The networks that it asks; none for a judge made of rules."""

    def judge(self, image: np.ndarray, prompt: str) -> bool:
        """Whether `image`, uint8 (H, W, 3), meets `prompt`."""


class PromptSuccess(Metric):
    """100 where the judge says that the image meets the prompt, else 0; the mean is a rate in percent.

    Independent of every CLIP, so it exposes images that raise a CLIP score without showing what was asked.

    Args:
        judge: decides; pixels reach it as stored, rounded to 8 bits.

    References:
        The automatic counterpart of the human PASR of DOODL, Fig. 5 right ("achieves the prompt").

    Differs from the paper: PASR is a pairwise judgement of five people; this is an absolute one by a program.
    """

    paper: str = "DOODL, Fig. 5 (PASR)"
    reads: tuple[str, ...] = ("prompt",)
    higher_is_better: bool = True
    unit: str = "%"

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @property
    def readers(self) -> tuple[Reader, ...]:
        return self.judge.readers

    def fingerprint(self) -> str:
        return self.judge.name

    @property
    def protocol(self) -> str:
        return f"percentage of images that meet their prompt; judge: {self.judge.name}"

    def check(self, problems: Sequence[Problem]) -> None:
        """A judge made of rules is asked about a blank picture: it says which prompts it cannot read."""
        if not self.judge.readers:
            blank = np.zeros((64, 64, 3), np.uint8)
            for prompt in dict.fromkeys(field(problems, "prompt", "metric=prompt_success")):
                self.judge.judge(blank, prompt)

    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        prompts = field(problems, "prompt", "metric=prompt_success")
        verdicts = [self.judge.judge(i, prompt) for i, prompt in zip(to_uint8(images), prompts, strict=True)]
        return 100 * torch.tensor(verdicts, dtype=torch.float32)
