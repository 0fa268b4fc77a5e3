"""Prompts about rendered scenes, in the DrawBench categories that make sense there, and their judge."""

import functools
from pathlib import Path

import numpy as np

from guidebench.data.prompts import PromptSet
from guidebench.data.worlds.scenes.judge import Requirement, satisfies
from guidebench.errors import DataError


class SceneBench(PromptSet):
    """Prompts for the embedded text-to-image model: coloured shapes, 64 x 64.

    Categories: Colors, Counting, Positional, Conflicting (combinations that no training scene shows).

    Args:
        categories: which ones, in this order; None takes all.
        limit: the first n prompts of each category; None takes all.

    References:
        Categories after DrawBench (Saharia et al. 2022); the prompts are ours.
    """

    paper: str = "after DrawBench, Saharia et al. 2022"
    gives: tuple[str, ...] = ("prompt", "category")

    def _file(self) -> Path:
        return Path(__file__).parent / "worlds" / "scenes" / "drawbench.csv"


class SceneJudge:
    """Reads the objects out of an image by rules, and says whether they are exactly those of the prompt."""

    name: str = "scenes parser, version 1"  # raise the version when the rules change
    readers: tuple[()] = ()

    def judge(self, image: np.ndarray, prompt: str) -> bool:
        """Whether the image shows what the prompt names (counts, colours, sizes, relations) and nothing else.

        Args:
            image: uint8 (64, 64, 3).
            prompt: in the scenes' vocabulary.

        Raises:
            DataError: the prompt is not about scenes, or the image has another size.
        """
        try:
            return satisfies(image, _requirement(prompt))
        except ValueError as error:
            raise DataError(
                f"metric=prompt_success with the scenes judge: {error}. It understands "
                "dataset=drawbench/embedded and images of model=embedded only; otherwise leave it out "
                "(~metrics.prompt_success)."
            ) from error


@functools.lru_cache(maxsize=1024)
def _requirement(prompt: str) -> Requirement:
    return Requirement.from_prompt(prompt)
