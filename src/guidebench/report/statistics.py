"""Means, paired comparisons and multiplicity control for samples that are clustered by prompt.

Seeds of one prompt are not independent of each other, prompts are. So the prompt is the unit everywhere:
values are averaged within each prompt first, and all intervals and tests are those of the `G` prompt means
with `G - 1` degrees of freedom. With the same number of seeds for every prompt this equals the cluster-robust
(CR1) regression on a constant.

A metric of whole sets of samples, such as FID, has no prompt means. Its jackknife pseudo-values take their place: they
have the metric's value as mean and its jackknife standard error as standard error, so all that follows is the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]
SetValue = Callable[[FloatArray], float]
"""Features (n, d) of samples -> the value of a metric of whole sets; NaN where n is too small for one."""


@runtime_checkable
class LeavesOut(Protocol):
    """A `SetValue` that knows a shorter way to its values without each of some groups of samples."""

    def leaving_out(self, features: FloatArray, codes: npt.NDArray[np.intp]) -> FloatArray:
        """The values without each group.

        Args:
            features: `(n, d)`.
            codes: `(n,)` number of each sample's group, 0 to G - 1.

        Returns:
            `(G,)`.
        """


GROUPS = 30
"""The most groups of prompts that a jackknife leaves out in turn."""

MIN_BOOTSTRAP = 8
"""The fewest prompts that are drawn from with replacement."""

DRAWS = 2000
"""Draws of a bootstrap."""

ONE_CLUSTER = "one cluster"
NO_SPREAD = "no spread"
UNBOUNDED = "unbounded"
ZERO_DENOMINATOR = "reference is 0"
TOO_FEW = "too few samples"


@dataclass(frozen=True)
class Estimate:
    """A point estimate and, where the data allow one, its confidence interval.

    Attributes:
        value: the estimate; None without data.
        interval: lower and upper confidence limit; None where there is none, never an invented one.
        n: number of values (or pairs) that entered.
        n_clusters: number of prompts they came from.
        no_interval: why `interval` is None although `value` is not; empty otherwise.
    """

    value: float | None
    interval: Interval | None
    n: int
    n_clusters: int
    no_interval: str = ""


@dataclass(frozen=True)
class Pairs:
    """Prompt means of two configurations over the (case, seed) keys that succeeded in both.

    Attributes:
        treatment: `(G,)` prompt means (of a metric of sets: pseudo-values) of the row of interest.
        control: `(G,)` of the row it is compared with.
        n: number of (case, seed) pairs behind the means.
        n_dropped: pairs that exist on both sides but where one failed or has no value.
        n_unmatched: keys that exist on one side only.
    """

    treatment: FloatArray
    control: FloatArray
    n: int
    n_dropped: int
    n_unmatched: int


@dataclass(frozen=True)
class HolmStep:
    """What Holm's procedure says about one hypothesis.

    Attributes:
        p_adjusted: adjusted p-value; None where the hypothesis could not be tested.
        alpha: level at which this hypothesis was tested by the step-down procedure.
        reject: the decision.
    """

    p_adjusted: float | None
    alpha: float
    reject: bool


def clustered_mean(values: npt.ArrayLike, clusters: Sequence[object], confidence: float = 0.95) -> Estimate:
    r"""Mean over prompts of the prompt means, with a t interval over prompts.

    $\bar m \pm t_{G-1} \, s_m / \sqrt{G}$ for the $G$ prompt means $m_g$: every prompt has the same weight,
    however many of its seeds failed. With one prompt, or without any spread between prompts (where the t
    interval would have width zero and claim certainty), the interval is missing.

    Args:
        values: `(n,)` numbers; those that are not finite are left out.
        clusters: `(n,)` prompt of each value.
        confidence: coverage of the interval, in (0, 1).
    """
    means, n = _cluster_means(values, clusters)
    return _t_estimate(means, n, confidence)


def clustered_share(
    percents: npt.ArrayLike, clusters: Sequence[object], confidence: float = 0.95
) -> Estimate:
    r"""Mean over prompts of shares in percent, with Wilson's interval, which never leaves 0 to 100.

    With $p$ the mean of the $G$ prompt means and $v$ its squared standard error over prompts, the prompts are worth
    $\tilde n = p (1 - p) / v$ independent samples, at most as many as there are; without any spread at 0 or at 100 %,
    the $G$ prompts themselves. Wilson's interval of $\tilde n$ samples takes the quantile of $t_{G-1}$ for the
    normal's, as $v$ is estimated.

    Args:
        percents: `(n,)` numbers in [0, 100]; those that are not finite are left out.
        clusters: `(n,)` prompt of each value.
        confidence: coverage of the interval, in (0, 1).

    References: Wilson, Probable inference, JASA 22 (1927); Dean and Pagano, Evaluating confidence interval methods for
    binomial proportions in clustered surveys, J. Survey Statistics and Methodology 3 (2015).
    """
    means, n = _cluster_means(percents, clusters)
    n_clusters = len(means)
    if not n_clusters:
        return Estimate(None, None, 0, 0)
    value = float(means.mean())
    if n_clusters == 1:
        return Estimate(value, None, n, n_clusters, ONE_CLUSTER)
    share = min(max(value / 100.0, 0.0), 1.0)
    variance = float(np.var(means / 100.0, ddof=1)) / n_clusters
    spread = share * (1.0 - share)
    worth = (
        float(n_clusters)
        if spread < 1e-12
        else min(float(n), spread / variance)
        if variance > 0
        else float(n)
    )
    t2 = float(stats.t.ppf(0.5 + confidence / 2, n_clusters - 1)) ** 2
    centre = (share + t2 / (2 * worth)) / (1 + t2 / worth)
    half = np.sqrt(t2) / (1 + t2 / worth) * np.sqrt(spread / worth + t2 / (4 * worth**2))
    low, high = max(0.0, 100 * float(centre - half)), min(100.0, 100 * float(centre + half))
    return Estimate(value, (low, high), n, n_clusters)


def skewed_mean(values: npt.ArrayLike, clusters: Sequence[object], confidence: float = 0.95) -> Estimate:
    r"""Mean over prompts of numbers that lie far above their mean, with a bootstrap-t interval of its logarithm.

    Prompts are drawn with replacement; the quantiles of the draws' $(\log \bar m^* - \log \bar m) \bar m^* / s^*$
    stand in place of Student's. Where a prompt's mean is not above 0, or prompts are fewer than
    `MIN_BOOTSTRAP`, the interval is `clustered_mean`'s.

    Args:
        values: `(n,)` numbers; those that are not finite are left out.
        clusters: `(n,)` prompt of each value.
        confidence: coverage of the interval, in (0, 1).

    References: Hall, The Bootstrap and Edgeworth Expansion, Springer (1992), chapter 3; Efron and Tibshirani, An
    Introduction to the Bootstrap (1993), section 12.5.
    """
    means, n = _cluster_means(values, clusters)
    plain = _t_estimate(means, n, confidence)
    if plain.interval is None or len(means) < MIN_BOOTSTRAP or means.min() <= 0:
        return plain
    drawn = means[np.random.default_rng(0).integers(len(means), size=(DRAWS, len(means)))]
    centre, error = means.mean(), stats.sem(means)
    centres, errors = drawn.mean(axis=1), stats.sem(drawn, axis=1)
    varied = errors > 0
    studentised = np.log(centres[varied] / centre) * centres[varied] / errors[varied]
    upper, lower = np.quantile(studentised, [0.5 + confidence / 2, 0.5 - confidence / 2])
    interval = (
        float(centre * np.exp(-upper * error / centre)),
        float(centre * np.exp(-lower * error / centre)),
    )
    return dataclasses.replace(plain, interval=interval)


def _cluster_means(values: npt.ArrayLike, clusters: Sequence[object]) -> tuple[FloatArray, int]:
    """Means of the finite values of each cluster, (G,), and how many values they are of."""
    series = pd.Series(np.asarray(values, dtype=np.float64))
    finite = np.isfinite(series.to_numpy())
    means = series[finite].groupby(pd.Series(list(clusters), dtype=object)[finite]).mean()
    return np.asarray(means, dtype=np.float64), int(finite.sum())


def pseudo_values(value: SetValue, features: FloatArray, clusters: Sequence[object]) -> FloatArray:
    r"""One number per group of prompts that stands for a metric of whole sets in all that is done with prompt means.

    $p_g = \theta + (G - 1)(\bar\theta_{(\cdot)} - \theta_{(g)})$, with $\theta$ the value of all samples and
    $\theta_{(g)}$ that without group $g$: the jackknife's pseudo-values moved to the mean $\theta$, so that they claim
    nothing about the value's bias. The standard error of their mean is the jackknife's.

    Args:
        value: the metric.
        features: `(n, d)` features of the samples.
        clusters: `(n,)` prompt of each sample; in order of name they are dealt to at most `GROUPS` groups.

    Returns:
        `(G,)`; NaN where the samples are too few for a value.

    References: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM (1982), chapters 2 and 3.
    """
    codes = pd.factorize(pd.Series(list(clusters), dtype=object), sort=True)[0] % GROUPS
    n_groups = int(codes.max()) + 1
    if n_groups == 1:
        return np.array([value(features)])
    without = (
        value.leaving_out(features, codes)
        if isinstance(value, LeavesOut)
        else np.array([value(features[codes != group]) for group in range(n_groups)])
    )
    return value(features) + (n_groups - 1) * (without.mean() - without)


def set_estimate(
    value: SetValue, features: FloatArray, clusters: Sequence[object], confidence: float = 0.95
) -> Estimate:
    """A metric of a whole set of samples, with a t interval over its pseudo-values.

    Args:
        value: the metric.
        features: `(n, d)` features of the samples.
        clusters: `(n,)` prompt of each sample.
        confidence: coverage of the interval, in (0, 1).
    """
    n, n_clusters = len(features), len(set(clusters))
    if not n:
        return Estimate(None, None, 0, 0)
    whole = value(features)
    if not np.isfinite(whole):
        return Estimate(None, None, n, n_clusters, TOO_FEW)
    pseudo = pseudo_values(value, features, clusters)
    if not np.isfinite(pseudo).all():
        return Estimate(whole, None, n, n_clusters, TOO_FEW)
    return dataclasses.replace(_t_estimate(pseudo, n, confidence), value=whole, n_clusters=n_clusters)


def pair(
    treatment: pd.DataFrame,
    control: pd.DataFrame,
    metric: str,
    cluster_by: str = "prompt",
    value: SetValue | None = None,
) -> Pairs:
    """Matches two configurations on (case_id, seed) and averages within prompts.

    Args:
        treatment: records of the row of interest, each (case_id, seed) once: `case_id`, `seed`, `status`,
            `cluster_by` and `metric`.
        control: records of the row it is compared with, same columns.
        metric: column to compare; only finite values (or features) of records with status "ok" count.
        cluster_by: column that names the prompt.
        value: of a metric of whole sets, whose column holds features; both sides are then valued on the shared keys.
    """
    key = ["case_id", "seed"]
    sides = [
        side.assign(value=side[metric].where(side["status"].eq("ok") & is_present(side[metric])))
        for side in (treatment, control)
    ]
    merged = sides[0][[*dict.fromkeys([*key, cluster_by]), "value"]].merge(
        sides[1][[*key, "value"]],
        on=key,
        how="outer",
        suffixes=("_treatment", "_control"),
        indicator=True,
        validate="one_to_one",
    )
    matched = merged[merged["_merge"] == "both"]
    complete = matched.dropna(subset=["value_treatment", "value_control"]).sort_values(key, kind="stable")
    values = complete[["value_treatment", "value_control"]]
    if value is None or complete.empty:
        means = values.groupby(complete[cluster_by]).mean().to_numpy(np.float64)
    else:
        prompts = complete[cluster_by].tolist()
        means = np.stack(
            [pseudo_values(value, np.stack(values[side].tolist()), prompts) for side in values], axis=1
        )
        means = means if np.isfinite(means).all() else means[:0]
    return Pairs(
        treatment=means[:, 0],
        control=means[:, 1],
        n=len(complete),
        n_dropped=len(matched) - len(complete),
        n_unmatched=len(merged) - len(matched),
    )


def is_present(values: pd.Series) -> pd.Series:
    """Where a column of numbers is finite, or where a column of features has any."""
    return values.notna() if values.dtype == object else values.abs() < np.inf


def paired_difference(pairs: Pairs, confidence: float = 0.95) -> Estimate:
    """Mean paired difference, treatment minus control, with a t interval over prompts."""
    return _t_estimate(pairs.treatment - pairs.control, pairs.n, confidence, scale=_scale(pairs))


def relative_change(pairs: Pairs, confidence: float = 0.95) -> Estimate:
    r"""Relative change in percent, $100 (\bar a - \bar b) / |\bar b|$, with Fieller's interval for the ratio.

    Fieller's interval holds every ratio $\theta$ that the paired t test of $d_g - \theta |b_g|$ does not
    reject. So it contains zero exactly when the paired t test of `paired_p_value` does not reject, at every
    level; neither the delta method nor a bootstrap has that property, and it is exact for normal prompt
    means. Where the reference is not clearly different from zero the set is unbounded, and the interval is
    missing.

    References: Fieller, Some problems in interval estimation, JRSS B 16 (1954).
    """
    n_clusters = len(pairs.control)
    if not n_clusters:
        return Estimate(None, None, 0, 0)
    centre = float(pairs.control.mean())
    if centre == 0.0:
        return Estimate(None, None, pairs.n, n_clusters, ZERO_DENOMINATOR)
    difference = pairs.treatment - pairs.control
    reference = np.copysign(1.0, centre) * pairs.control
    value = 100.0 * float(difference.mean()) / abs(centre)
    if n_clusters == 1:
        return Estimate(value, None, pairs.n, n_clusters, ONE_CLUSTER)
    if not _has_spread(difference, _scale(pairs)):
        return Estimate(value, None, pairs.n, n_clusters, NO_SPREAD)
    covariance = np.cov(difference, reference) / n_clusters
    t2 = stats.t.ppf(0.5 + confidence / 2, n_clusters - 1) ** 2
    # a theta^2 - 2 b theta + c <= 0
    a = centre**2 - t2 * covariance[1, 1]
    b = difference.mean() * abs(centre) - t2 * covariance[0, 1]
    c = difference.mean() ** 2 - t2 * covariance[0, 0]
    if a <= 0.0:
        return Estimate(value, None, pairs.n, n_clusters, UNBOUNDED)
    root = np.sqrt(max(b * b - a * c, 0.0))
    return Estimate(value, (float(100 * (b - root) / a), float(100 * (b + root) / a)), pairs.n, n_clusters)


def paired_p_value(pairs: Pairs) -> float | None:
    """Two-sided p-value of the paired t test on prompt means; None where it has no meaning.

    It has none with fewer than two prompts, and none when the differences of all prompts are equal: the
    statistic would then be infinite or 0/0, and on a 0/1 metric with few prompts that is no evidence.
    """
    if len(pairs.treatment) < 2 or not _has_spread(pairs.treatment - pairs.control, _scale(pairs)):
        return None
    return float(stats.ttest_rel(pairs.treatment, pairs.control).pvalue)


def holm(p_values: Sequence[float | None], alpha: float = 0.05) -> list[HolmStep]:
    """Holm's step-down procedure, with the level at which each hypothesis was tested.

    A hypothesis without a p-value stays in the family with p = 1, so the size of the family is the one
    declared before the sweep and does not depend on the data.

    An interval of coverage `1 - step.alpha` excludes zero exactly when Holm rejects: rejected hypotheses keep
    the level of their own step, all others the level of the step at which the procedure stopped. The
    familywise guarantee is about the statements "differs from zero"; it is not simultaneous coverage of all
    true values.

    References: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    if not p_values:
        return []
    tested = np.array([1.0 if p is None else p for p in p_values])
    reject, adjusted, _, _ = multipletests(tested, alpha=alpha, method="holm")
    n_rejected, n_tests = int(reject.sum()), len(tested)
    rank = np.argsort(np.argsort(tested, kind="stable"), kind="stable")
    return [
        HolmStep(
            p_adjusted=None if p is None else float(adjusted[i]),
            alpha=alpha / (n_tests - min(int(rank[i]), n_rejected)),
            reject=bool(reject[i]),
        )
        for i, p in enumerate(p_values)
    ]


def _t_estimate(means: FloatArray, n: int, confidence: float, scale: float | None = None) -> Estimate:
    """Student's t interval of cluster means that were computed from numbers of size `scale`."""
    n_clusters = len(means)
    if not n_clusters:
        return Estimate(None, None, 0, 0)
    value = float(means.mean())
    if n_clusters == 1:
        return Estimate(value, None, n, n_clusters, ONE_CLUSTER)
    if not _has_spread(means, float(np.abs(means).max()) if scale is None else scale):
        return Estimate(value, None, n, n_clusters, NO_SPREAD)
    low, high = stats.t.interval(confidence, n_clusters - 1, loc=value, scale=stats.sem(means))
    return Estimate(value, (float(low), float(high)), n, n_clusters)


def _scale(pairs: Pairs) -> float:
    return float(np.abs(np.concatenate([pairs.treatment, pairs.control])).max(initial=0.0))


def _has_spread(means: FloatArray, scale: float) -> bool:
    """Whether the means differ by more than the rounding of float64 numbers of size `scale`."""
    return bool(np.ptp(means) > 1e-12 * scale)
