"""b_psi on a Gaussian field, where the exact bias is a linear filter."""

import itertools
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from guidebench.artefacts.corrective import Corrective, normalised
from guidebench.artefacts.trainer import Training
from guidebench.pixels import to_uint8
from guidebench.problems import Picture
from guidebench.progress import Progress
from random_fields import SIDE, Fields

MODEL = Fields(amplitude=0.0)


class Drawn:
    """Draws of the field as pictures."""

    name = "draws of a Gaussian field"

    def __init__(self, n: int) -> None:
        images = to_uint8(MODEL.decode(MODEL.draw(n)))
        self._pictures = [Picture(f"draw {i}", partial(images.__getitem__, i)) for i in range(n)]

    def pictures(self) -> list[Picture]:
        return self._pictures


def corrective(steps: int, n: int) -> Corrective:
    training = Training(steps, lr=2e-3, warmup=20, weight_decay=0.0, precision="float32")
    return Corrective(Drawn(n), training, n_triplets=n, batch=32, widths=(16, 32, 64), middle=64)  # type: ignore[arg-type]


class Killed(Progress):
    """Keeps the state, and dies before the `at`-th step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left, self.kept, self.loops = at, {}, itertools.count()

    def steps(self, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        loop = next(self.loops)
        done, kept = self.kept.get(loop, (0, {}))
        state |= {name: tensor.clone() for name, tensor in kept.items()}
        for k in range(done, n):
            self.kept[loop] = k, {name: tensor.clone() for name, tensor in state.items()}
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield k
        self.kept[loop] = n, {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("at", [1, 4])
def test_killed_among_its_triplets_or_its_steps_it_ends_with_the_same_bits(at: int) -> None:
    made = corrective(steps=4, n=64)
    whole = made.learn(MODEL, Progress())
    progress = Killed(at)
    with pytest.raises(KeyboardInterrupt):
        made.learn(MODEL, progress)
    progress.left, progress.loops = -1, itertools.count()
    again = made.learn(MODEL, progress)
    assert all(torch.equal(tensor, again.weights[name]) for name, tensor in whole.weights.items())


@pytest.mark.slow
def test_it_learns_the_exact_bias() -> None:
    made = corrective(steps=600, n=2048)
    learned = made.learn(MODEL, Progress())
    b = made.predictor(learned.weights, MODEL)
    z, n = MODEL.draw(256, seed=1), 256
    eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    for t in (300.0, 600.0, 900.0):
        alpha_t, sigma_t = MODEL.schedule.alpha(t), MODEL.schedule.sigma(t)
        z_t = alpha_t * z + sigma_t * eps
        x0 = (z_t - sigma_t * MODEL.eps(z_t, t, MODEL.condition([""]))) / alpha_t
        ours, exact = (
            (x0 - normalised(found, x0, (1, 2, 3))).square().sum() / n
            for found in (b(z, torch.full((n,), t)), MODEL.blur(z, t))
        )
        assert ours / exact - 1 < 0.15, f"t = {t}: {float(ours / exact)}"
    late = learned.history["bin"] >= 0.2
    better = learned.history["L_k"] < learned.history["L_k of blur"]
    assert late.sum() >= 4 and better[late].float().mean() > 0.7, learned.history


def test_the_network_of_the_paper() -> None:
    network = Corrective(Drawn(1), Training(1, 1e-4)).network(3)  # type: ignore[arg-type]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(7.76e6, rel=0.02)
    z = torch.rand(2, 3, SIDE, SIDE)
    out = network(z, torch.tensor([0.1, 0.9]))
    assert out.shape == z.shape and out.abs().max() <= 1
    assert not torch.equal(out[:1], network(z[:1], torch.tensor([0.9])))  # the time is seen
