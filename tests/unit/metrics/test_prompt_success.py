import numpy as np
import pytest
import torch

from guidebench.errors import ConfigError
from guidebench.metrics.prompt_success import PromptSuccess
from guidebench.problems import Problem, TextToImage


class BrightJudge:
    """Accepts an image for 'bright' when its mean pixel is above the middle."""

    name = "bright"
    readers = ()

    def judge(self, image: np.ndarray, prompt: str) -> bool:
        assert image.dtype == np.uint8 and image.shape == (5, 6, 3)
        return bool((image.mean() > 127) == (prompt == "bright"))


def test_one_verdict_per_image() -> None:
    images = torch.stack([torch.ones(3, 5, 6), torch.zeros(3, 5, 6), torch.ones(3, 5, 6)])
    problems = [
        TextToImage("case", i, prompt, "Colors") for i, prompt in enumerate(["bright", "bright", "dark"])
    ]
    assert PromptSuccess(BrightJudge()).evaluate(images, problems).tolist() == [100.0, 0.0, 0.0]


def test_pixels_are_rounded_not_cut() -> None:
    seen = []

    class Recorder(BrightJudge):
        def judge(self, image: np.ndarray, prompt: str) -> bool:
            seen.append(image)
            return True

    stored = torch.randint(0, 256, (1, 3, 5, 6), dtype=torch.uint8)
    PromptSuccess(Recorder()).evaluate(stored.float() / 255, [TextToImage("case", 0, "bright", "Colors")])
    assert np.array_equal(seen[0], stored[0].permute(1, 2, 0).numpy())


def test_protocol_names_the_judge() -> None:
    metric = PromptSuccess(BrightJudge())
    assert "bright" in metric.protocol and metric.readers == ()


def test_problems_without_a_prompt_are_refused() -> None:
    with pytest.raises(ConfigError, match="the field 'prompt'"):
        PromptSuccess(BrightJudge()).evaluate(torch.rand(1, 3, 5, 6), [Problem("case", 0)])
