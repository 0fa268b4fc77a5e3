import pytest
import torch

from guidebench.losses.cutouts import cutout_sizes, make_cutouts


def _generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(("cut_power", "mean"), [(0.3, 445), (0.06, 495), (0.6, 404)])
def test_mean_size_at_512_pixels(cut_power: float, mean: float) -> None:
    draws = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sizes = cutout_sizes(draws, side=512, cut_size=224, cut_power=cut_power)
    assert sizes.double().mean().item() == pytest.approx(mean, abs=3)
    assert sizes.min() >= 224 and sizes.max() <= 512


def test_sizes_at_the_ends_of_the_range() -> None:
    sizes = cutout_sizes(torch.tensor([0.0, 1.0]), side=512, cut_size=224, cut_power=0.3)
    assert sizes.tolist() == [224, 512]


def test_identity_when_the_image_has_the_cut_size() -> None:
    images = torch.rand(2, 3, 24, 24)
    cuts = make_cutouts(images, cut_size=24, n_cuts=5, cut_power=0.3, generators=_generators(0, 1))
    assert torch.equal(cuts, images[:, None].expand(-1, 5, -1, -1, -1))


def test_reproducible_from_the_generator_and_new_at_every_call() -> None:
    images = torch.rand(1, 3, 40, 40)
    generators = _generators(3)
    first, second = (make_cutouts(images, 16, 4, 0.3, generators) for _ in range(2))
    again = make_cutouts(images, 16, 4, 0.3, _generators(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_rows_do_not_depend_on_the_batch() -> None:
    images = torch.rand(4, 3, 40, 40)
    together = make_cutouts(images, 16, 4, 0.3, _generators(0, 1, 2, 3))
    alone = [make_cutouts(images[i : i + 1], 16, 4, 0.3, _generators(i)) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_offsets_reach_every_border() -> None:
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    image = torch.stack([rows, columns, torch.zeros_like(rows)])[None]
    cuts = make_cutouts(image, cut_size=10, n_cuts=2000, cut_power=5.0, generators=_generators(0))[0]
    assert cuts[:, 0].min() < 1 and cuts[:, 0].max() > 18
    assert cuts[:, 1].min() < 1 and cuts[:, 1].max() > 28


def test_one_generator_per_image_is_required() -> None:
    with pytest.raises(ValueError, match="zip"):
        make_cutouts(torch.rand(2, 3, 20, 20), 10, 1, 0.3, _generators(0))
