"""The margins of recognisers on small numbers, by the formulas of their papers in plain Python."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))
from embedded.margins import AdaFace, ArcFace, CosFace, ElasticFace, Margin

LABELS = torch.tensor([1, 0, 2])
LENGTHS = (3.0, 11.0, 40.0)
ANGLES = ((1.0, 0.4, 2.0), (0.9, 1.7, 1.2), (2.2, 0.3, 1.4))
"""Between each of three embeddings and each of three classes, radians."""


def logits(margin: Margin, seed: int = 0) -> list[list[float]]:
    """Of embeddings and classes in three dimensions with the angles of ANGLES, row by row."""
    found = []
    for angles, length, label in zip(ANGLES, LENGTHS, LABELS, strict=True):
        margin.kernel = torch.nn.Parameter(
            5 * torch.tensor([[math.cos(a), math.sin(a), 0.0] for a in angles])
        )
        generator = torch.Generator().manual_seed(seed)
        found.append(margin(torch.tensor([[length, 0.0, 0.0]]), label[None], generator)[0].tolist())
    return found


def expected(change: Callable[[float, int], float], scale: float) -> list[list[float]]:
    return [
        [
            scale * (change(angle, row) if column == label else math.cos(angle))
            for column, angle in enumerate(angles)
        ]
        for row, (angles, label) in enumerate(zip(ANGLES, LABELS.tolist(), strict=True))
    ]


def assert_close(found: list[list[float]], wanted: list[list[float]]) -> None:
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), atol=2e-4, rtol=0)


def test_cosface() -> None:
    assert_close(logits(CosFace(3, 3, 10.0, 0.35)), expected(lambda angle, _: math.cos(angle) - 0.35, 10.0))


def test_arcface() -> None:
    assert_close(logits(ArcFace(3, 3, 10.0, 0.5)), expected(lambda angle, _: math.cos(angle + 0.5), 10.0))


def test_elasticface_draws_its_margin() -> None:
    generator = torch.Generator().manual_seed(3)
    draw = float(torch.randn(1, generator=generator))
    found = logits(ElasticFace(3, 3, 10.0, 0.5, deviation=0.05), seed=3)
    assert_close(found, expected(lambda angle, _: math.cos(angle + 0.5 + 0.05 * draw), 10.0))
    margins = ElasticFace(3, 3, 10.0, 0.5, deviation=0.05).margins(torch.ones(20_000), generator)[0]
    assert float(margins.mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(margins.std()) == pytest.approx(0.05, rel=0.03)


def test_adaface_in_evaluation_uses_its_running_statistics() -> None:
    margin = AdaFace(3, 3, 10.0, 0.4, concentration=0.333).eval()
    margin.mean.fill_(12.0)
    margin.deviation.fill_(8.0)

    def change(angle: float, row: int) -> float:
        quality = max(-1.0, min(1.0, 0.333 * (LENGTHS[row] - 12.0) / 8.0))  # eq. 13
        return math.cos(angle - 0.4 * quality) - (0.4 * quality + 0.4)  # eq. 12, 14, 15

    assert change(1.0, 2) == pytest.approx(math.cos(0.6) - 0.8)  # the clipped one
    assert_close(logits(margin), expected(change, 10.0))


def test_adaface_is_arcface_for_the_worst_and_doubly_cosface_for_the_best_picture() -> None:
    """Section 3.3: q = -1 gives cos(theta + m), q = 0 CosFace's, q = 1 cos(theta - m) - 2m."""
    margin = AdaFace(3, 3, 1.0, 0.3).eval()
    margin.mean.fill_(50.0)
    margin.deviation.fill_(1.0)
    angular, additive = margin.margins(torch.tensor([1.0, 50.0, 99.0]), torch.Generator())
    torch.testing.assert_close(angular, torch.tensor([0.3, 0.0, -0.3]))
    torch.testing.assert_close(additive, torch.tensor([0.0, 0.3, 0.6]))


def test_adaface_follows_the_lengths_it_is_trained_on() -> None:
    margin = AdaFace(3, 3, 1.0, 0.3, momentum=0.5)
    lengths = torch.tensor([2.0, 4.0, 9.0])
    margin.margins(lengths, torch.Generator())
    assert float(margin.mean) == pytest.approx(0.5 * 20 + 0.5 * 5)
    assert float(margin.deviation) == pytest.approx(0.5 * 100 + 0.5 * float(lengths.std()))


def test_no_gradient_flows_through_the_length_and_it_is_finite_at_perfect_agreement() -> None:
    margin = AdaFace(3, 2, 10.0, 0.3).eval()
    direction = torch.nn.functional.normalize(margin.kernel[:1].detach())
    embedding = (7.0 * direction).requires_grad_()
    margin(embedding, torch.tensor([0]), torch.Generator())[0, 0].backward()
    assert embedding.grad is not None and bool(torch.isfinite(embedding.grad).all())
    assert abs(float(embedding.grad @ direction[0])) < 1e-5
