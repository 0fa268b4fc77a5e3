"""FID and KID against closed forms, a general matrix root, and their definitions."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import linalg, stats
from torch import Tensor

from guidebench.metrics.feature_distance import FID, KID
from guidebench.problems import Picture
from guidebench.report.statistics import set_estimate


class Pixels:
    """The images themselves as features."""

    network_id = "pixels"

    def fingerprint(self) -> str:
        return "pixels"

    def pooled(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Noise:
    name = "noise"

    def pictures(self) -> Sequence[Picture]:
        return [Picture("noise", lambda: np.zeros((2, 2, 3), np.uint8))]


@pytest.fixture
def fid() -> FID:
    return FID(Pixels(), Noise())


@pytest.fixture
def kid() -> KID:
    return KID(Pixels(), Noise())


def with_moments(rng: np.random.Generator, mean: np.ndarray, covariance: np.ndarray, n: int) -> np.ndarray:
    """Rows whose sample mean and unbiased sample covariance are exactly these."""
    rows = rng.normal(size=(n, len(mean)))
    rows -= rows.mean(axis=0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    return mean + whitened @ np.linalg.cholesky(covariance).T


def test_fid_of_gaussians_with_commuting_covariances(fid: FID) -> None:
    rng = np.random.default_rng(0)
    rotation = stats.ortho_group.rvs(5, random_state=1)
    a, b = rng.uniform(0.1, 4, (2, 5))
    means = rng.normal(size=(2, 5))
    x = with_moments(rng, means[0], rotation @ np.diag(a) @ rotation.T, 40)
    y = with_moments(rng, means[1], rotation @ np.diag(b) @ rotation.T, 60)
    expected = np.square(means[0] - means[1]).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert fid.value(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [50, 6])
def test_fid_against_a_general_matrix_root(fid: FID, n: int) -> None:
    """n = 6 < 8 dimensions: a singular covariance."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(n, 8)) @ rng.normal(size=(8, 8)), rng.normal(1, 2, size=(70, 8))
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(cov_x @ cov_y).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov_x + cov_y - 2 * root)
    assert fid.value(x, y) == pytest.approx(expected, rel=1e-6)


def test_fid_of_a_set_with_itself_is_zero_and_of_too_few_is_none(fid: FID) -> None:
    rows = np.random.default_rng(3).normal(size=(30, 4))
    assert fid.value(rows, rows) == pytest.approx(0, abs=1e-9)
    assert np.isnan(fid.value(rows[:1], rows))
    assert fid.value(rows[:, :1], rows[:, 1:2]) >= 0  # one feature


def test_another_reference_is_noticed(fid: FID, kid: KID) -> None:
    rows = np.random.default_rng(4).normal(size=(3, 30, 4))
    for metric in (fid, kid):
        fresh = type(metric)(Pixels(), Noise()).value(rows[0], rows[2])
        metric.value(rows[0], rows[1])
        assert metric.value(rows[0], rows[2]) == pytest.approx(fresh, rel=1e-12)


def test_fid_of_few_samples_carries_its_caveat(fid: FID) -> None:
    assert fid.caveat(20_000, 64) == ""
    assert "200 samples" in fid.caveat(200, 32) and "singular" not in fid.caveat(200, 32)
    assert "64 samples" in fid.caveat(64, 64) and "singular" in fid.caveat(64, 64)


@pytest.mark.parametrize(("n", "d"), [(100, 4), (30, 40)])
def test_the_jackknife_of_fid_is_the_spread_of_repeated_samples(fid: FID, n: int, d: int) -> None:
    rng = np.random.default_rng(5)
    reference = rng.normal(size=(400, d))
    repeated = [rng.normal(0.3, 1.2, size=(n, d)) for _ in range(60)]
    spread = np.std([fid.value(rows, reference) for rows in repeated], ddof=1)
    halves = []
    for rows in repeated[:12]:
        low, high = set_estimate(partial(fid.value, reference=reference), rows, list(range(n))).interval or (
            0,
            0,
        )
        halves.append((high - low) / 2 / stats.t.ppf(0.975, 29))
    assert_allclose(np.sqrt(np.mean(np.square(halves))), spread, rtol=0.35)


def test_kid_by_its_definition(kid: KID) -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(7, 3)), rng.normal(0.5, size=(9, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert kid.value(x, y) == pytest.approx(1000 * (xx + yy - 2 * xy), rel=1e-9)


def test_kid_is_unbiased_at_small_n(kid: KID) -> None:
    rng = np.random.default_rng(7)
    values = [kid.value(rng.normal(size=(4, 2)), rng.normal(size=(5, 2))) for _ in range(3000)]
    assert abs(np.mean(values)) < 4 * stats.sem(values)
    assert np.isnan(kid.value(np.zeros((1, 2)), np.zeros((5, 2))))


def test_kid_in_blocks_is_kid(kid: KID) -> None:
    x = np.random.default_rng(8).normal(size=(2500, 2))
    kernel = (x @ x.T / 2 + 1) ** 3
    within = (kernel.sum() - np.trace(kernel)) / (2500 * 2499)
    assert kid.value(x, x) == pytest.approx(1000 * (2 * within - 2 * kernel.mean()), rel=1e-6)


def test_kid_without_each_group_is_kid_of_the_rest(kid: KID) -> None:
    """Block sums against leaving out by hand; a group that leaves fewer than two has no value."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(2100, 3)), rng.normal(size=(50, 3))
    codes = rng.integers(7, size=len(x))
    by_hand = [kid.value(x[codes != group], y) for group in range(7)]
    assert_allclose(kid.leaving_out(x, y, codes), by_hand, rtol=1e-9)
    few = kid.leaving_out(x[:3], y, np.array([0, 0, 1]))
    assert np.isnan(few[0]) and few[1] == pytest.approx(kid.value(x[:2], y))


def test_fid_and_kid_share_their_features(fid: FID, kid: KID) -> None:
    assert fid.fingerprint() == kid.fingerprint()
    images = torch.rand(2, 3, 2, 2)
    torch.testing.assert_close(fid.features(images), images.flatten(1))
    assert "pixels" in fid.protocol and "noise" in fid.protocol
