"""Means of pairs that share people: against sums over all pairs of pairs, and by simulated coverage."""

from itertools import combinations

import numpy as np
import pytest

from guidebench.report.dyadic import Dyads, dyadic_mean, dyadic_p_value


def pairs(people: int, n: int, seed: int = 0) -> tuple[list[int], list[int]]:
    every = list(combinations(range(people), 2))
    chosen = [every[i] for i in np.random.default_rng(seed).choice(len(every), n, replace=False)]
    return [a for a, _ in chosen], [b for _, b in chosen]


def brute_force(values: np.ndarray, first: list[int], second: list[int]) -> float:
    """The variance of the mean, by the definition: all pairs of pairs that share somebody."""
    errors = values - values.mean()
    people = len({*first, *second})
    members = [{a, b} for a, b in zip(first, second, strict=True)]
    total = sum(
        errors[p] * errors[q]
        for p in range(len(errors))
        for q in range(len(errors))
        if members[p] & members[q]
    )
    return people / (people - 1) * float(total) / len(errors) ** 2


def test_the_variance_sums_over_all_pairs_that_share_a_person() -> None:
    first, second = pairs(12, 40)
    rng = np.random.default_rng(1)
    person = rng.normal(size=12)
    values = person[first] + person[second] + rng.normal(size=40)
    found = Dyads.of(values, first, second)
    assert found.variance == pytest.approx(brute_force(values, first, second), rel=1e-9)
    assert found.people == 12 and found.values.mean() == pytest.approx(values.mean())


def test_without_shared_people_it_is_the_variance_of_independent_pairs() -> None:
    values = np.random.default_rng(0).normal(size=30)
    first, second = list(range(30)), list(range(30, 60))
    expected = values.var() / 30 * 60 / 59
    assert Dyads.of(values, first, second).variance == pytest.approx(expected, rel=1e-9)


def test_seeds_of_a_pair_are_averaged_whichever_person_comes_first() -> None:
    once = dyadic_mean([1.0, 2.0, 6.0], ["x", "x", "y"], ["y", "z", "z"])
    seeds = dyadic_mean([0.0, 2.0, 2.0, 6.0, np.nan], ["x", "y", "x", "y", "x"], ["y", "x", "z", "z", "z"])
    assert seeds.value == once.value == pytest.approx(3.0)
    assert seeds.interval == pytest.approx(once.interval) and seeds.n == 4 and once.n_clusters == 3


def test_the_p_value_belongs_to_the_interval() -> None:
    first, second = pairs(15, 50)
    rng = np.random.default_rng(2)
    for shift in (0.0, 0.5, 2.0):
        values = shift + rng.normal(size=15)[first] + 0.3 * rng.normal(size=50)
        p = dyadic_p_value(values, first, second)
        assert p is not None
        edge = dyadic_mean(values, first, second, confidence=1 - p).interval
        assert edge is not None and min(abs(edge[0]), abs(edge[1])) == pytest.approx(0, abs=1e-9)


def test_no_interval_is_invented() -> None:
    assert dyadic_mean([], [], []).value is None
    assert dyadic_mean([2.0], ["x"], ["y"]).interval is None
    same = dyadic_mean([100.0, 100.0, 100.0], ["x", "x", "y"], ["y", "z", "z"])
    assert same.value == 100.0 and same.interval is None and same.no_interval
    assert dyadic_p_value([1.0, 1.0], ["x", "y"], ["y", "z"]) is None


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_intervals_cover_the_truth_whether_or_not_people_matter(shared: float) -> None:
    """Pairs of 80 people: share `shared` of each value's variance belongs to its people."""
    first, second = pairs(80, 200)
    rng = np.random.default_rng(3)
    covered = naive = 0
    runs = 400
    for _ in range(runs):
        person = rng.normal(size=80)
        values = (shared / 2) ** 0.5 * (person[first] + person[second])
        values += (1 - shared) ** 0.5 * rng.normal(size=200)
        interval = dyadic_mean(values, first, second).interval
        assert interval is not None
        covered += interval[0] <= 0.0 <= interval[1]
        naive += abs(values.mean()) < 1.96 * values.std() / 200**0.5
    assert 0.90 < covered / runs < 0.995
    if shared:
        assert naive / runs < 0.8  # what a test of independent pairs would claim
