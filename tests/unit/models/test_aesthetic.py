"""The aesthetic head, its loss and its metric, against a linear layer by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import WeightsError
from guidebench.losses.aesthetic import Aesthetic
from guidebench.metrics.aesthetic import AestheticScore
from guidebench.models.readers.aesthetic import AestheticHead
from guidebench.models.readers.clip import CLIP
from guidebench.problems import TextToImage
from tiny_models import make_head_directory

PROBLEMS = [TextToImage(f"case-{i}", 0, "a red circle", "test") for i in range(3)]


@pytest.fixture
def clip(clip_directories: dict[str, str]) -> CLIP:
    return CLIP(directory=clip_directories["guide"])


@pytest.fixture
def head(clip: CLIP, head_directories: dict[str, str]) -> AestheticHead:
    return AestheticHead(clip, head_directories["guide"])


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def by_hand(clip: CLIP, images: Tensor) -> Tensor:
    """w . f(x) + b with the numbers of the file."""
    weight = 2 * torch.randn(1, 12, generator=torch.Generator().manual_seed(0))
    return (clip.encode_image(images) * weight).sum(1) + 5.0


def evaluated(loss: Aesthetic, images: Tensor) -> Tensor:
    return loss.bind(PROBLEMS, RandomStreams(PROBLEMS))(images)


def test_the_score_is_linear_in_the_unit_embedding(head: AestheticHead, clip: CLIP, images: Tensor) -> None:
    expected = by_hand(clip, images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(head.score(images), expected)
    metric = AestheticScore(head)
    torch.testing.assert_close(metric.evaluate(images, PROBLEMS), expected)
    assert metric.readers == (clip, head)


def test_the_loss_is_the_distance_of_the_clipped_score(
    head: AestheticHead, clip: CLIP, images: Tensor
) -> None:
    scores = by_hand(clip, images)
    for target in (10.0, 1.0):
        loss = Aesthetic(head, target=target, n_crops=0, scale=3.0)
        torch.testing.assert_close(evaluated(loss, images), 3 * (scores.clamp(1, 10) - target).abs())
    torch.testing.assert_close(
        evaluated(Aesthetic(head, target=None, n_crops=0), images), -scores.clamp(1, 10)
    )


def test_a_score_outside_the_scale_gets_no_gradient(clip: CLIP, tmp_path: Path, images: Tensor) -> None:
    from safetensors.torch import save_file

    make_head_directory(tmp_path, clip.directory or "")
    save_file({"weight": torch.ones(1, 12), "bias": torch.tensor([40.0])}, tmp_path / "model.safetensors")
    images.requires_grad_()
    loss = evaluated(Aesthetic(AestheticHead(clip, str(tmp_path)), n_crops=0), images)
    assert (loss == 0).all()
    assert torch.autograd.grad(loss.sum(), images)[0].abs().sum() == 0


def test_crops_repeat_by_seed_and_are_averaged(head: AestheticHead, images: Tensor) -> None:
    few, many = (evaluated(Aesthetic(head, n_crops=n), images) for n in (4, 4))
    assert torch.equal(few, many)
    assert not torch.allclose(few, evaluated(Aesthetic(head, n_crops=5), images))


def test_a_head_of_another_clip_is_refused(
    clip: CLIP,
    clip_directories: dict[str, str],
    head_directories: dict[str, str],
    tmp_path: Path,
    images: Tensor,
) -> None:
    with pytest.raises(WeightsError, match=r"was fitted to the CLIP .* set its clip\.directory"):
        AestheticHead(clip, head_directories["score"]).score(images)
    stray = make_head_directory(tmp_path, clip_directories["guide"])
    (stray / "config.json").write_text('{"in_features": 7}')
    with pytest.raises(WeightsError, match="another shape"):
        AestheticHead(clip, str(stray)).score(images)
    random = AestheticHead(clip, "sa_0_4_vit_l_14_linear.pth", {"in_features": 768}, random_weights=True)
    with pytest.raises(WeightsError, match=r"dimension 768, .* gives 12"):
        random.load("cpu")
