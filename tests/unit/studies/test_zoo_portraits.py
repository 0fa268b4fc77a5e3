"""The zoo's measurements of faces, with networks and judges whose answers are known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guidebench.data.worlds.faces.people import IDENTITY
from guidebench.data.worlds.faces.world import FACES, GALLERY_SIZE
from guidebench.models.diffae import DiffAE
from guidebench.models.readers.face_recognition import match_threshold
from guidebench.studies.zoo import portraits
from guidebench.studies.zoo.pictures import held_out

TINY: dict[str, Any] = {
    "image_size": 64,
    "model_channels": 8,
    "z_channels": 8,
    "num_res_blocks": 1,
    "channel_mult": [0.5, 0.5],
    "encoder_channel_mult": [0.5, 0.5],
    "attention_resolutions": [],
    "num_head_channels": 4,
    "num_groups": 2,
}


@pytest.mark.parametrize(("n", "passing"), [(10_302, 10), (10_000, 10), (999, 0), (1000, 1)])
def test_the_threshold_lets_exactly_a_thousandth_pass(n: int, passing: int) -> None:
    impostors = torch.randperm(n, generator=torch.Generator().manual_seed(0)).float() / n
    threshold = match_threshold(impostors, 1e-3)
    assert int((impostors > threshold).sum()) == passing
    below = impostors[impostors < threshold].max()  # a smaller one lets more pass
    assert int((impostors > below).sum()) == passing + 1


class Knowing:
    """Sees the drawn numbers of the pictures it was told of, in the order in which they are shown; errs for some."""

    def __init__(self, count: int, mistaken: set[int]) -> None:
        self.count, self.mistaken, self.shown = count, mistaken, 0

    def embed(self, images: Tensor) -> Tensor:
        persons = [(self.shown + row) % self.count for row in range(len(images))]
        smiling = (self.shown // self.count) % 2 == 1
        self.shown += len(images)
        wrong = [(p + 1) % self.count if smiling and p in self.mistaken else p for p in persons]
        return torch.eye(self.count)[wrong]


def test_true_matches_and_shared_false_ones_are_counted() -> None:
    n = 50  # 2450 pairs: two may pass
    judges: dict[str, Any] = {
        name: Knowing(n, mistaken) for name, mistaken in (("A", {3}), ("B", {3}), ("C", set()))
    }
    guide: Any = Knowing(n, {5, 6})
    rows = {row.what: row for row in portraits.recognition(portraits.FaceModels(None, guide, judges), n)}  # type: ignore[arg-type]
    matches = {
        name: rows[f"{name}: true matches at 0.1 % false ones (%)"].number.value for name in ("guide", *"ABC")
    }
    assert matches == {"guide": 96.0, "A": 98.0, "B": 98.0, "C": 100.0}
    both = rows["A and B: false matches shared, over chance"].number.value
    assert both == pytest.approx(1 * n * (n - 1) / (1 * 1))  # one pair each, the same one
    assert np.isnan(rows["A and C: false matches shared, over chance"].number.value)


def test_sharing_by_chance_is_one_and_likeness_explains_what_is_shared() -> None:
    """Two judges that are mistaken independently, the nearer the pair the more often."""
    rng = np.random.default_rng(0)
    n = 300
    distance = np.triu(rng.uniform(0, 1, (n, n)), 1)
    distance += distance.T
    near = distance < np.quantile(distance[~np.eye(n, dtype=bool)], 0.03)
    chance = np.where(near, 0.2, 0.001)
    first, second = (rng.uniform(size=(n, n)) < chance for _ in range(2))
    everybody = np.arange(n)
    assert portraits.shared(first, second, everybody) > 10
    assert portraits.shared(first, second, everybody, distance) == pytest.approx(1, abs=0.15)
    independent = rng.uniform(size=(2, n, n)) < 0.05
    assert portraits.shared(*independent, everybody) == pytest.approx(1, abs=0.15)
    few = np.arange(40)
    again = portraits.shared(first[:40, :40], second[:40, :40], few, distance[:40, :40])
    assert portraits.shared(first, second, few, distance) == pytest.approx(again, nan_ok=True)


def test_likeness_is_the_distance_of_what_was_drawn() -> None:
    subjects = [FACES.subject(GALLERY_SIZE + k) for k in (1, 2, 3)]
    found = portraits.likeness(subjects)
    for i, j in ((0, 1), (0, 2)):
        a, b = subjects[i].neutral, subjects[j].neutral
        gaps = [(x - y) ** 2 for x, y in zip(a.identity, b.identity, strict=True)]
        differing = len(a.attributes ^ b.attributes)
        assert len(gaps) == len(IDENTITY)
        assert found[i, j] == found[j, i] == pytest.approx((sum(gaps) + 4 * differing) ** 0.5)


@pytest.fixture(scope="module")
def model() -> DiffAE:
    made = DiffAE("tiny", TINY, random_weights=True)
    made.load("cpu")
    return made


def test_a_network_that_predicts_no_noise_gives_its_picture_back(model: DiffAE) -> None:
    network = model.modules["unet"]
    weight = network.out[2].weight.clone()
    images = held_out(FACES, 2).images
    nn.init.zeros_(network.out[2].weight)
    x_T, z = portraits.encoded(model, images)
    kept = model.schedule.alpha(999) / model.schedule.alpha(0)
    torch.testing.assert_close(x_T, model.encode(torch.from_numpy(images).permute(0, 3, 1, 2) / 255) * kept)
    np.testing.assert_array_equal(portraits.decoded(model, x_T, z), images)
    network.out[2].weight.copy_(weight)


def test_a_head_reads_what_a_code_holds(model: DiffAE, monkeypatch: pytest.MonkeyPatch) -> None:
    training, test = held_out(FACES, 300), held_out(FACES, 100, start=300)

    def telling(_: DiffAE, images: np.ndarray) -> Tensor:
        """Codes that hold the first class and, where the noise lets it through, the second."""
        known = training if len(images) == 300 else test
        noise = torch.randn(len(images), 2, generator=torch.Generator().manual_seed(1))
        target = portraits._classes(known)[:, :2]
        return 5 + 3 * target + noise * torch.tensor([0.01, 3.0])

    monkeypatch.setattr(portraits, "codes", telling)
    right = portraits.head_reads(model, training, test)
    assert right.shape == (100, len(FACES.classes))
    assert right[:, 0].mean() == 1.0
    assert 0.55 < right[:, 1].mean() < 0.9


def test_training_pictures_are_of_the_training_split() -> None:
    pictures = portraits._training(2)
    np.testing.assert_array_equal(pictures.images[1], FACES.render(FACES.picture("train", 1)))
    assert pictures.shown[1] == FACES.shown(FACES.picture("train", 1))
