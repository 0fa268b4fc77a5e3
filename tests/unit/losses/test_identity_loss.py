"""The identity loss, against its own identity: with the difference it is twice the larger distance."""

import torch

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.identity import Identity
from guidebench.pixels import to_tensor
from tiny_faces import LinearRecogniser, pair

PAIRS = [pair(0, 1), pair(2, 3)]


def distances(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine distances to both people, from torch's own function."""
    recogniser = LinearRecogniser()
    features = [
        (to_tensor([p.load() for p in side]) - 0.5).flatten(1) @ recogniser.matrix
        for side in ([p.a for p in PAIRS], [p.b for p in PAIRS])
    ]
    of_images = (images - 0.5).flatten(1) @ recogniser.matrix
    d_a, d_b = (1 - torch.nn.functional.cosine_similarity(of_images, f) for f in features)
    return d_a, d_b


def test_it_is_twice_the_larger_distance_and_the_sum_without_balance() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    d_a, d_b = distances(images)
    worse = Identity(LinearRecogniser()).bind(PAIRS, RandomStreams(PAIRS))(images)
    torch.testing.assert_close(worse, 2 * torch.maximum(d_a, d_b), atol=1e-6, rtol=1e-6)
    total = Identity(LinearRecogniser(), balance=0.0, scale=3.0).bind(PAIRS, RandomStreams(PAIRS))(images)
    torch.testing.assert_close(total, 3 * (d_a + d_b), atol=1e-6, rtol=1e-6)


def test_gradients_are_each_samples_own_and_pull_the_farther_person_alone() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = Identity(LinearRecogniser()).bind(PAIRS, RandomStreams(PAIRS))
    (together,) = torch.autograd.grad(loss(images).sum(), images)
    for row in range(2):
        alone = images[row : row + 1].detach().requires_grad_()
        value = Identity(LinearRecogniser()).bind(PAIRS[row : row + 1], RandomStreams(PAIRS))(alone)
        torch.testing.assert_close(torch.autograd.grad(value.sum(), alone)[0][0], together[row])
    d_a, d_b = distances(images)
    (farther,) = torch.autograd.grad(2 * torch.maximum(d_a, d_b).sum(), images)
    torch.testing.assert_close(together, farther, atol=1e-6, rtol=1e-5)
    assert (
        loss(to_tensor([p.a.load() for p in PAIRS])).min() > 0
    )  # the first person himself is far from the second
