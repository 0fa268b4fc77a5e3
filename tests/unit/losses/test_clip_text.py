import hashlib
import logging
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.losses.clip_text import ClipText, spherical_distance
from guidebench.problems import Problem, TextToImage


class SmoothCLIP:
    """Stands in for a CLIP: a smooth random map in float64, so that finite differences are accurate."""

    image_size = 8
    network_id = "clip:smooth"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(3 * 8 * 8, 6, generator=generator, dtype=torch.float64) / 8

    def encode_image(self, images: Tensor) -> Tensor:
        pixels = adaptive_avg_pool2d(images.double(), 8).flatten(1)
        return normalize(torch.tanh(pixels @ self.weight) + 0.1, dim=-1)

    def encode_text(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
        rows = [
            torch.randn(6, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds
        ]
        return normalize(torch.stack(rows), dim=-1).to(device)


PROBLEMS = [TextToImage(f"case-{i}", i, f"prompt {i}", "Colors") for i in range(4)]


def _objective(problems: Sequence[Problem] = PROBLEMS, **settings: object) -> Callable[[Tensor], Tensor]:
    return ClipText(SmoothCLIP(), **settings).bind(problems, RandomStreams(problems))  # type: ignore[arg-type]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("degrees", "distance"), [(10, 0.0152309), (60, 0.5483114), (90, 1.2337006)])
def test_distance_is_half_the_squared_angle(degrees: float, distance: float) -> None:
    theta = torch.tensor(math.radians(degrees), dtype=torch.float32)
    u, v = torch.tensor([1.0, 0.0]), torch.stack([theta.cos(), theta.sin()])
    assert spherical_distance(u, v).item() == pytest.approx(distance, abs=1e-6)


def test_distance_equals_the_arcsine_form() -> None:
    u, v = normalize(torch.randn(2, 100, 12, dtype=torch.float64), dim=-1)
    arcsine = 2 * torch.asin((u - v).norm(dim=-1) / 2) ** 2
    torch.testing.assert_close(spherical_distance(u, v), arcsine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sign", "distance"), [(1, 0.0), (-1, math.pi**2 / 2)])
def test_gradient_is_finite_at_equality_and_at_antipodes(sign: int, distance: float) -> None:
    u = normalize(torch.randn(5, 7), dim=-1).requires_grad_()
    value = spherical_distance(u, sign * u.detach())
    value.sum().backward()
    assert u.grad is not None and u.grad.isfinite().all()
    torch.testing.assert_close(value, torch.full_like(value, distance))
    if sign == 1:
        assert u.grad.abs().max() == 0


def test_one_number_per_sample(images: Tensor) -> None:
    assert _objective()(images).shape == (4,)


def test_whole_image_against_the_formula(images: Tensor) -> None:
    clip = SmoothCLIP()
    u, v = clip.encode_image(images), clip.encode_text([p.prompt for p in PROBLEMS])
    expected = 0.5 * 2 * torch.asin((u - v).norm(dim=-1) / 2) ** 2
    torch.testing.assert_close(_objective(n_crops=0, scale=0.5)(images), expected)


def test_reductions_see_the_same_crops(images: Tensor) -> None:
    smallest, mean = (_objective(reduction=r, n_crops=8)(images) for r in ("min", "mean"))
    assert (smallest < mean).all()
    single = [_objective(reduction=r, n_crops=1)(images) for r in ("min", "mean")]
    torch.testing.assert_close(*single)


def test_rows_do_not_depend_on_the_batch(images: Tensor) -> None:
    together = _objective()(images)
    alone = [_objective([problem])(images[i : i + 1]) for i, problem in enumerate(PROBLEMS)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=0)


def test_crops_are_new_at_each_call_and_the_same_in_a_second_run(images: Tensor) -> None:
    first, second = _objective(), _objective()
    values = [first(images), first(images)]
    assert not torch.equal(*values)
    assert torch.equal(values[0], second(images)) and torch.equal(values[1], second(images))


@pytest.mark.parametrize("reduction", ["min", "mean"])
def test_gradient_against_finite_differences(images: Tensor, reduction: str) -> None:
    images = 0.1 + 0.8 * images  # away from the clamp's corners
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def total(at: Tensor) -> Tensor:
        return _objective(reduction=reduction, n_crops=4)(at).sum()  # a new binding draws the same crops

    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(leaf), leaf)
    h = 1e-5
    difference = (total(images + h * direction) - total(images - h * direction)) / (2 * h)
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-6)


def test_a_row_has_no_gradient_from_another_row(images: Tensor) -> None:
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_objective()(leaf)[1], leaf)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().max() == 0


def test_clamp_zeroes_the_gradient_of_saturated_pixels(images: Tensor) -> None:
    def gradient(clamp: bool) -> Tensor:
        leaf = (images + 1).requires_grad_()
        return torch.autograd.grad(_objective(clamp=clamp)(leaf).sum(), leaf)[0]

    assert gradient(True).abs().max() == 0
    assert gradient(False).abs().max() > 0


def test_nothing_to_crop_uses_the_image_once_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    small = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    with caplog.at_level(logging.WARNING):
        objective = _objective(n_crops=16)
        torch.testing.assert_close(objective(small), _objective(n_crops=0)(small))
        objective(small)
    assert len(caplog.records) == 1 and "n_crops=16" in caplog.text


def test_the_official_variant_takes_the_best_crop_and_explicit_values_win(images: Tensor) -> None:
    assert torch.equal(_objective(variant="official")(images), _objective(reduction="min")(images))
    assert torch.equal(_objective(variant="paper")(images), _objective(reduction="mean")(images))
    assert torch.equal(
        _objective(variant="official", reduction="mean")(images), _objective(reduction="mean")(images)
    )


def test_declares_its_network() -> None:
    assert [r.network_id for r in ClipText(SmoothCLIP()).readers] == ["clip:smooth"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"reduction": "max"}, "'min', 'mean'"),
        ({"n_crops": -1}, "n_crops=-1"),
        ({"cut_power": 0.0}, "cut_power"),
    ],
)
def test_wrong_settings_are_refused_in_words(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipText(SmoothCLIP(), **setting)  # type: ignore[arg-type]


def test_problems_without_a_prompt_are_refused() -> None:
    with pytest.raises(ConfigError, match="the field 'prompt'"):
        _objective([Problem("case", 0)])
