"""What every loss promises: discovered from conf/loss."""

import pytest
import torch
from components import TINY_RECOGNISERS, each, job, problems
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss


@pytest.fixture
def loss(
    name: str,
    clip_directories: dict[str, str],
    head_directories: dict[str, str],
    classifier_directories: dict[str, str],
) -> Loss:
    return job(
        f"loss={name}",
        f"networks.guide_clip.directory={clip_directories['guide']}",
        f"networks.guide_aesthetic.clip.directory={clip_directories['guide']}",
        f"networks.guide_aesthetic.source={head_directories['guide']}",
        f"networks.guide_classifier.directory={classifier_directories['guide']}",
        *(TINY_RECOGNISERS if name == "identity" else ()),
    ).build("loss")


@pytest.fixture
def images(loss: Loss) -> Tensor:
    """Samples of the kind that the loss takes."""
    generator = torch.Generator().manual_seed(0)
    if loss.kind == "motion":
        return 0.1 * torch.randn(4, 12, 3, generator=generator).cumsum(1)
    return 0.2 + 0.6 * torch.rand(4, 3, 64, 64, generator=generator)


def evaluate(loss: Loss, images: Tensor, rows: slice = slice(None)) -> Tensor:
    """On fresh streams, so that random augmentations repeat."""
    some = problems(loss.reads)[rows]
    return loss.bind(some, RandomStreams(some))(images)


@each("loss")
def test_one_number_per_sample_that_depends_on_its_row_alone(loss: Loss, images: Tensor) -> None:
    together = evaluate(loss, images)
    assert together.shape == (4,) and together.isfinite().all() and len(together.unique()) == 4
    for row in range(4):
        alone = evaluate(loss, images[row : row + 1], slice(row, row + 1))
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)


@each("loss")
def test_the_gradient_of_a_row_stays_in_it_and_leads_down(loss: Loss, images: Tensor) -> None:
    leaf = images.clone().requires_grad_()
    value = evaluate(loss, leaf)
    (gradient,) = torch.autograd.grad(value[2], leaf, retain_graph=True)
    assert gradient[2].abs().sum() > 0 and gradient[[0, 1, 3]].abs().sum() == 0
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    step = 0.02 * gradient / gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.ndim - 1))
    assert (evaluate(loss, images - step) < value).all()
    assert (evaluate(loss, images + step) > value).all()


@each("loss")
def test_networks_are_named_and_frozen(loss: Loss, images: Tensor) -> None:
    evaluate(loss, images.requires_grad_()).sum().backward()
    assert all(reader.network_id for reader in loss.readers)
    assert loss.fingerprint() == loss.fingerprint() != ""
    if loss.readers:  # a graph of weights would show as a gradient on an input that needs none
        assert not evaluate(loss, images.detach()).requires_grad


@each("loss")
def test_the_global_generator_is_left_alone(loss: Loss, images: Tensor) -> None:
    state = torch.get_rng_state()
    assert torch.equal(evaluate(loss, images), evaluate(loss, images))
    assert torch.equal(state, torch.get_rng_state())
    assert loss.paper
