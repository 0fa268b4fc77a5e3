"""Numbers of the zoo against closed forms, simulation and what bars promise."""

import numpy as np
import pytest

from guidebench.studies.zoo.estimates import Bar, Number, correlation, error_overlap, jackknife, mean, rate


def test_wilson_solves_its_quadratic() -> None:
    right = np.arange(50) < 43
    number = rate(right)
    assert number.value == 86 and number.n == 50
    for limit in number.interval or ():  # the limits are where |p - p_hat| = z sqrt(p (1 - p) / n)
        p = limit / 100
        assert abs(p - 0.86) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / 50), rel=1e-5)
    assert rate(np.ones(20, bool)).interval[0] < 100  # type: ignore[index]


def test_mean_and_its_t_interval() -> None:
    values = np.array([1.0, 2.0, 3.0, 6.0])
    number = mean(values)
    assert number.value == 3
    half = 3.182446 * values.std(ddof=1) / 2
    assert number.interval == pytest.approx((3 - half, 3 + half), rel=1e-5)
    assert mean(values[:1]).interval is None


def test_error_overlap_is_one_for_independent_errors_and_more_for_shared_ones() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 20000)) > 0.2
    number = error_overlap(first, second)
    assert number.value == pytest.approx(1, abs=0.1)
    assert number.interval is not None and number.interval[0] < 1 < number.interval[1]
    hard = rng.random(20000) < 0.1
    assert error_overlap(first & ~hard, second & ~hard).value > 1.5
    assert error_overlap(first, first).value == pytest.approx(1 / (~first).mean())
    assert error_overlap(first, ~first).value == 0
    table = np.array([False] * 3 + [True] * 7), np.array([False] * 2 + [True] * 7 + [False])
    assert error_overlap(*table).value == pytest.approx(0.2 / (0.3 * 0.3))


def test_error_overlap_without_errors_is_not_invented() -> None:
    number = error_overlap(np.ones(10, bool), np.zeros(10, bool))
    assert np.isnan(number.value) and number.interval is None and "no errors" in number.no_interval


def test_correlation_and_fishers_interval() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    number = correlation(x, y)
    assert number.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    z = np.arctanh(number.value) + np.array([-1, 1]) * 1.959964 / np.sqrt(297)
    assert number.interval == pytest.approx(tuple(np.tanh(z)), rel=1e-5)


def test_jackknife_of_a_mean_is_the_t_interval_of_group_means() -> None:
    values = np.random.default_rng(2).normal(size=200)
    number = jackknife(lambda rows: float(values[rows].mean()), 200, groups=20)
    expected = mean(values.reshape(20, 10).mean(axis=1))
    assert number.value == pytest.approx(expected.value)
    assert number.interval == pytest.approx(expected.interval)
    assert jackknife(lambda rows: 0.0, 30, groups=20).interval is None


@pytest.mark.parametrize(
    ("bar", "value", "interval", "words"),
    [
        (Bar(at_least=80), 90, (85, 95), "at least 80: met"),
        (Bar(at_least=80), 82, (78, 86), "at least 80: met, close"),
        (Bar(at_least=80), 79, (75, 83), "at least 80: missed, close"),
        (Bar(at_least=80), 50, (40, 60), "at least 80: missed"),
        (Bar(at_most=15), 10, (5, 14), "at most 15: met"),
        (Bar(at_most=15), 20, (16, 24), "at most 15: missed"),
        (Bar(20, 80), 50, (40, 60), "at least 20 and at most 80: met"),
        (Bar(20, 80), 93, (90, 96), "at least 20 and at most 80: missed"),
        (Bar(20, 80), 10, (5, 19), "at least 20 and at most 80: missed"),
        (Bar(at_most=2), float("nan"), None, "at most 2: not measured"),
        (Bar(), 3, None, "reported"),
    ],
)
def test_bars(bar: Bar, value: float, interval: tuple[float, float] | None, words: str) -> None:
    assert bar.verdict(Number(value, interval, 10)) == words
