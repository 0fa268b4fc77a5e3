"""Intervals and tests against scipy, statsmodels and closed forms."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from guidebench.report.pairs import (
    Pairs,
    holm,
    pair,
    paired_difference,
    paired_p_value,
    relative_change,
)
from guidebench.report.statistics import (
    GROUPS,
    NO_SPREAD,
    ONE_CLUSTER,
    TOO_FEW,
    UNBOUNDED,
    ZERO_DENOMINATOR,
    clustered_mean,
    clustered_share,
    pseudo_values,
    set_estimate,
    skewed_mean,
)


def make_pairs(treatment: list[float], control: list[float]) -> Pairs:
    return Pairs(np.array(treatment), np.array(control), len(treatment), 0, 0)


@pytest.fixture
def normal_pairs() -> Pairs:
    rng = np.random.default_rng(1)
    control = rng.normal(0.25, 0.03, 20)
    return Pairs(control + rng.normal(0.006, 0.01, 20), control, 20, 0, 0)


def records(
    values: dict[tuple[str, int], float], failed: frozenset[tuple[str, int]] = frozenset()
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "case_id": case,
                "seed": seed,
                "prompt": case,
                "status": "failed" if (case, seed) in failed else "ok",
                "score": value,
            }
            for (case, seed), value in values.items()
        ]
    )


def test_clustered_mean_equals_cluster_robust_regression_on_a_constant() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(8), 5)
    values = rng.normal(size=8)[clusters] + rng.normal(size=40)
    fit = sm.OLS(values, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    estimate = clustered_mean(values, clusters.tolist())
    assert estimate.value == pytest.approx(fit.params[0])
    assert_allclose(estimate.interval, fit.conf_int()[0], rtol=1e-10)
    assert (estimate.n, estimate.n_clusters) == (40, 8)


def test_clustered_mean_by_hand() -> None:
    estimate = clustered_mean([1.0, 3.0, 5.0, 9.0, np.nan, np.inf], ["a", "a", "b", "c", "c", "c"])
    # prompt means 2, 5, 9
    half_width = stats.t.ppf(0.975, 2) * np.sqrt(37 / 3 / 3)
    assert estimate.value == pytest.approx(16 / 3)
    assert_allclose(estimate.interval, (16 / 3 - half_width, 16 / 3 + half_width))
    assert (estimate.n, estimate.n_clusters) == (4, 3)


@pytest.mark.parametrize(
    ("values", "clusters", "reason"),
    [([1.0, 2.0, 4.0], ["a", "a", "a"], ONE_CLUSTER), ([0.1 + 0.2, 0.3], ["a", "b"], NO_SPREAD)],
)
def test_interval_is_missing_not_invented(values: list[float], clusters: list[str], reason: str) -> None:
    estimate = clustered_mean(values, clusters)
    assert estimate.value == pytest.approx(np.mean(values))
    assert estimate.interval is None
    assert estimate.no_interval == reason


def test_without_data_the_value_is_missing() -> None:
    assert clustered_mean([np.nan], ["a"]).value is None
    assert relative_change(make_pairs([], [])).value is None
    assert paired_difference(make_pairs([], [])).value is None


def test_paired_difference_is_the_paired_t_test(normal_pairs: Pairs) -> None:
    expected = stats.ttest_rel(normal_pairs.treatment, normal_pairs.control)
    estimate = paired_difference(normal_pairs)
    assert paired_p_value(normal_pairs) == pytest.approx(expected.pvalue)
    assert_allclose(estimate.interval, expected.confidence_interval(0.95))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_fieller_interval_inverts_the_paired_t_test(
    normal_pairs: Pairs, confidence: float, sign: float
) -> None:
    pairs = Pairs(sign * normal_pairs.treatment, sign * normal_pairs.control, 20, 0, 0)
    estimate = relative_change(pairs, confidence)
    assert estimate.interval is not None
    for limit in estimate.interval:
        shifted = pairs.treatment - pairs.control - limit / 100 * np.abs(pairs.control)
        assert stats.ttest_1samp(shifted, 0.0).pvalue == pytest.approx(1 - confidence)
    low, high = estimate.interval
    p_value = paired_p_value(pairs)
    assert p_value is not None
    assert (low <= 0 <= high) == (p_value >= 1 - confidence)


def test_relative_change_is_the_ratio_of_means_and_close_to_the_bootstrap(normal_pairs: Pairs) -> None:
    def change(treatment: Any, control: Any, axis: int = -1) -> Any:
        return 100 * (treatment.mean(axis) / control.mean(axis) - 1)

    estimate = relative_change(normal_pairs)
    assert estimate.value == pytest.approx(change(normal_pairs.treatment, normal_pairs.control))
    bootstrap = stats.bootstrap(
        (normal_pairs.treatment, normal_pairs.control), change, paired=True, n_resamples=2000, rng=0
    ).confidence_interval
    assert estimate.interval is not None
    width = estimate.interval[1] - estimate.interval[0]
    assert_allclose(estimate.interval, (bootstrap.low, bootstrap.high), atol=0.15 * width)


def test_relative_change_of_a_negative_reference_keeps_the_direction() -> None:
    estimate = relative_change(make_pairs([-4.0, -4.4], [-5.0, -5.1]))
    assert estimate.value is not None
    assert estimate.value > 0


def test_relative_change_has_no_interval_where_there_is_none() -> None:
    assert relative_change(make_pairs([1.0, 2.0], [-1.0, 1.0])).no_interval == ZERO_DENOMINATOR
    assert relative_change(make_pairs([1.0, 2.0], [-1.0, 1.2])).no_interval == UNBOUNDED
    assert relative_change(make_pairs([1.0], [2.0])).no_interval == ONE_CLUSTER
    assert relative_change(make_pairs([1.1, 2.1], [1.0, 2.0])).no_interval == NO_SPREAD


def test_p_value_is_missing_without_spread_or_with_one_prompt() -> None:
    assert paired_p_value(make_pairs([1.0], [0.0])) is None
    assert paired_p_value(make_pairs([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])) is None
    assert paired_p_value(make_pairs([0.3, 0.3], [0.1 + 0.2, 0.3])) is None


def test_pairs_drop_and_count_failed_and_unmatched_sides() -> None:
    treatment = records(
        {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 5.0, ("b", 1): 7.0, ("c", 0): np.nan},
        failed=frozenset({("b", 1)}),
    )
    control = records(
        {("a", 0): 0.0, ("a", 1): 4.0, ("b", 0): 3.0, ("b", 1): 3.0, ("c", 0): 1.0, ("d", 0): 1.0}
    )
    pairs = pair(treatment, control, "score")
    assert_allclose(pairs.treatment, [1.5, 5.0])
    assert_allclose(pairs.control, [2.0, 3.0])
    assert (pairs.n, pairs.n_dropped, pairs.n_unmatched) == (3, 2, 1)


def test_cases_with_the_same_prompt_are_one_cluster() -> None:
    treatment = records({("a", 0): 1.0, ("b", 0): 3.0})
    control = records({("a", 0): 0.0, ("b", 0): 0.0})
    treatment["prompt"] = control["prompt"] = "the same words"
    pairs = pair(treatment, control, "score")
    assert_allclose(pairs.treatment, [2.0])
    assert pairs.n == 2


def test_holm_by_hand() -> None:
    steps = holm([0.04, 0.001, None, 0.015])
    assert [step.reject for step in steps] == [False, True, False, True]
    assert_allclose([step.alpha for step in steps], [0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])
    assert [step.p_adjusted for step in steps] == [
        pytest.approx(0.08),
        pytest.approx(0.004),
        None,
        pytest.approx(0.045),
    ]
    assert holm([]) == []


def test_holm_adjusted_intervals_exclude_zero_exactly_when_holm_rejects() -> None:
    rng = np.random.default_rng(3)
    for _ in range(8):
        family = []
        for effect in rng.uniform(0, 0.8, 6):
            control = rng.normal(3, 0.3, 12)
            family.append(Pairs(control + rng.normal(effect, 1.0, 12) * 0.5, control, 12, 0, 0))
        for pairs, step in zip(family, holm([paired_p_value(pairs) for pairs in family]), strict=True):
            for change in (relative_change, paired_difference):
                low, high = change(pairs, 1 - step.alpha).interval or (0.0, 0.0)
                assert (low > 0 or high < 0) == step.reject


# -- metrics of whole sets ---------------------------------------------------------------------------------------------


def mean_of(features: np.ndarray) -> float:
    return float(features.mean()) if len(features) else float("nan")


def test_the_mean_as_a_metric_of_sets_is_the_clustered_mean() -> None:
    values = np.random.default_rng(0).normal(size=24)
    prompts = [f"p{i % 8}" for i in range(24)]
    assert_allclose(
        np.sort(pseudo_values(mean_of, values[:, None], prompts)),
        np.sort(pd.Series(values).groupby(prompts).mean()),
    )
    by_sets, by_means = set_estimate(mean_of, values[:, None], prompts), clustered_mean(values, prompts)
    assert_allclose([by_sets.value, *by_sets.interval], [by_means.value, *by_means.interval])  # type: ignore[misc]
    assert (by_sets.n, by_sets.n_clusters) == (24, 8)


def test_many_prompts_are_dealt_to_groups_without_a_change_of_scale() -> None:
    values = np.random.default_rng(1).normal(size=(3000, 1))
    prompts = [f"{i:04d}" for i in range(3000)]
    pseudo = pseudo_values(mean_of, values, prompts)
    assert len(pseudo) == GROUPS
    assert_allclose(pseudo.mean(), values.mean())
    assert_allclose(
        stats.sem(pseudo), stats.sem(values[:, 0]), rtol=0.4
    )  # an estimate with 29 degrees of freedom
    assert set_estimate(mean_of, values, prompts).n_clusters == 3000


def test_a_curved_metric_keeps_its_plain_value_and_the_delta_methods_error() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(3.0, 1.0, size=(400, 1))
    estimate = set_estimate(lambda rows: float(rows.mean() ** 2), features, list(range(400)))
    assert estimate.value == pytest.approx(features.mean() ** 2, abs=1e-12)
    low, high = estimate.interval or (0.0, 0.0)
    error = 2 * features.mean() * stats.sem(features[:, 0])
    assert_allclose((high - low) / 2, stats.t.ppf(0.975, GROUPS - 1) * error, rtol=0.4)


def test_too_few_samples_are_told() -> None:
    def spread(features: np.ndarray) -> float:
        return float(features.std(ddof=1)) if len(features) > 1 else float("nan")

    assert set_estimate(spread, np.ones((1, 1)), ["a"]).no_interval == TOO_FEW
    two = set_estimate(spread, np.array([[0.0], [2.0]]), ["a", "b"])
    assert (two.value, two.interval, two.no_interval) == (pytest.approx(2**0.5), None, TOO_FEW)
    one = set_estimate(spread, np.array([[0.0], [2.0]]), ["a", "a"])
    assert (one.interval, one.no_interval) == (None, ONE_CLUSTER)
    assert set_estimate(spread, np.zeros((0, 1)), []).value is None


def test_sets_are_paired_on_what_both_sides_have() -> None:
    rng = np.random.default_rng(4)
    keys = [
        {"case_id": f"c{i}", "prompt": f"p{i}", "seed": s, "status": "ok"} for i in range(5) for s in (0, 1)
    ]
    rows = rng.normal(size=(2, 10, 3))
    treatment, control = (pd.DataFrame(keys).assign(fid=[*side]) for side in rows)
    control.at[3, "status"] = "failed"
    treatment.at[7, "fid"] = np.nan
    pairs = pair(
        treatment, control.iloc[:-1], "fid", value=lambda features: float((features**2).sum(1).mean())
    )
    kept = [0, 1, 2, 4, 5, 6, 8]
    assert (pairs.n, pairs.n_dropped, pairs.n_unmatched) == (7, 2, 1)
    assert_allclose(pairs.treatment.mean(), (rows[0][kept] ** 2).sum(1).mean())
    assert_allclose(pairs.control.mean(), (rows[1][kept] ** 2).sum(1).mean())
    few = pair(treatment, control, "fid", value=lambda features: float("nan"))
    assert paired_difference(few).value is None and paired_p_value(few) is None


def test_pairs_may_be_clustered_by_the_key_they_are_matched_on() -> None:
    rows = [(case, seed) for case in ("a", "b", "c") for seed in (0, 1)]
    frame = pd.DataFrame(rows, columns=["case_id", "seed"]).assign(status="ok", value=[1, 5, 2, 6, 3, 7])
    pairs = pair(frame, frame.assign(value=0), "value", cluster_by="seed")
    assert pairs.treatment.tolist() == [2.0, 6.0] and pairs.n == 6


def shares(rng: np.random.Generator, mean: float, clusters: int, seeds: int, icc: float) -> np.ndarray:
    """0 or 100 of each seed of each cluster, (G, S): beta-binomial with an intracluster correlation."""
    of = mean if icc == 0 else rng.beta(mean * (1 - icc) / icc, (1 - mean) * (1 - icc) / icc, (clusters, 1))
    return 100.0 * (rng.random((clusters, seeds)) < of)


@pytest.mark.parametrize("mean", [0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize(
    ("clusters", "seeds", "icc"), [(10, 4, 0.3), (24, 9, 0.1), (29, 6, 0.1), (96, 1, 0.0)]
)
def test_shares_near_the_end_are_covered_and_never_leave_the_range(
    mean: float, clusters: int, seeds: int, icc: float
) -> None:
    """Simulated; the t interval of the same samples covers 0.99 in 21 to 75 % of them."""
    rng, hits = np.random.default_rng(3), []
    names = np.repeat(np.arange(clusters), seeds).tolist()
    for _ in range(200):
        interval = clustered_share(shares(rng, mean, clusters, seeds, icc).ravel(), names).interval
        assert interval is not None and 0.0 <= interval[0] < interval[1] <= 100.0
        hits.append(interval[0] <= 100 * mean <= interval[1])
    assert np.mean(hits) > 0.9  # more than three standard errors below 95 %


def test_independent_shares_have_wilsons_interval() -> None:
    """With the quantile of t in the place of the normal's: against statsmodels', which has the normal's."""
    values, names = np.repeat([0.0, 100.0], [300, 700]), list(range(1000))
    low, high = proportion_confint(700, 1000, alpha=0.05, method="wilson")
    assert clustered_share(values, names).interval == pytest.approx((100 * low, 100 * high), abs=0.02)
    assert clustered_share([100.0] * 20, list(range(20))).interval == pytest.approx(
        (100 * 20 / (20 + stats.t.ppf(0.975, 19) ** 2), 100.0)
    )


@pytest.mark.parametrize(("spread", "at_least"), [(0.5, 0.89), (1.0, 0.87)])
def test_the_mean_of_skewed_numbers_is_covered_better_than_by_t(spread: float, at_least: float) -> None:
    """Lognormal, simulated: the t interval covers 89 % and less at spread 1."""
    rng, hits, of_t = np.random.default_rng(4), [], []
    truth, names = float(np.exp(spread**2 / 2)), list(range(20))
    for _ in range(150):
        values = rng.lognormal(0, spread, 20)
        low, high = skewed_mean(values, names).interval or (np.nan, np.nan)
        hits.append(low <= truth <= high)
        low, high = clustered_mean(values, names).interval or (np.nan, np.nan)
        of_t.append(low <= truth <= high)
    assert np.mean(hits) > max(at_least, np.mean(of_t) - 0.02)
    assert skewed_mean(values, names) == skewed_mean(values, names)
    assert skewed_mean(values - 5, names) == clustered_mean(values - 5, names)


def test_leaving_out_by_a_short_cut_is_leaving_out() -> None:
    class Total:
        def __call__(self, features: np.ndarray) -> float:
            return float(features.sum())

        def leaving_out(self, features: np.ndarray, codes: np.ndarray) -> np.ndarray:
            return features.sum() - np.bincount(codes, features[:, 0])

    features, names = np.arange(40.0)[:, None], np.repeat(np.arange(8), 5).tolist()
    short = pseudo_values(Total(), features, names)
    np.testing.assert_allclose(short, pseudo_values(lambda f: float(f.sum()), features, names))
