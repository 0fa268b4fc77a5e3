from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.metrics.clip_score import ClipScore
from guidebench.problems import Problem, TextToImage


class FixedCLIP:
    """Returns given embeddings, so that the score can be computed by hand."""

    network_id, normalisation, precision = "clip:fixed", "own", "fp32"

    def __init__(self, images: Tensor, texts: Tensor) -> None:
        self.images, self.texts = (x / x.norm(dim=-1, keepdim=True) for x in (images, texts))

    def encode_image(self, images: Tensor) -> Tensor:
        return self.images

    def encode_text(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        return self.texts


PROBLEMS = [TextToImage(f"case-{i}", 0, f"prompt {i}", "Colors") for i in range(3)]


def test_score_against_hand_computed_cosines() -> None:
    clip = FixedCLIP(
        torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]),
    )
    score = ClipScore(clip).evaluate(torch.rand(3, 3, 8, 8), PROBLEMS)  # type: ignore[arg-type]
    torch.testing.assert_close(score, torch.tensor([60.0, 0.0, 0.0]))


def test_score_against_an_independent_formula() -> None:
    images, texts = torch.randn(2, 3, 16)
    cosine = torch.nn.functional.cosine_similarity(images, texts)
    score = ClipScore(FixedCLIP(images, texts)).evaluate(torch.rand(3, 3, 8, 8), PROBLEMS)  # type: ignore[arg-type]
    torch.testing.assert_close(score, torch.where(cosine > 0, 100 * cosine, 0.0))


def test_declares_what_a_table_needs() -> None:
    metric = ClipScore(FixedCLIP(torch.ones(1, 2), torch.ones(1, 2)))  # type: ignore[arg-type]
    assert [reader.network_id for reader in metric.readers] == ["clip:fixed"]
    assert metric.higher_is_better
    assert "clip:fixed" in metric.protocol and "\n" not in metric.protocol


def test_problems_without_a_prompt_are_refused() -> None:
    metric = ClipScore(FixedCLIP(torch.ones(1, 2), torch.ones(1, 2)))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the field 'prompt'"):
        metric.evaluate(torch.rand(1, 3, 8, 8), [Problem("case", 0)])
