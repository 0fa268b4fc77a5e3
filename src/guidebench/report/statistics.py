"""Estimates and their intervals from samples that are clustered by prompt.

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
    return t_estimate(means, n, confidence)


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
    plain = t_estimate(means, n, confidence)
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
    return dataclasses.replace(t_estimate(pseudo, n, confidence), value=whole, n_clusters=n_clusters)


def is_present(values: pd.Series) -> pd.Series:
    """Where a column of numbers is finite, or where a column of features has any."""
    return values.notna() if values.dtype == object else values.abs() < np.inf


def t_estimate(means: FloatArray, n: int, confidence: float, scale: float | None = None) -> Estimate:
    """Student's t interval of cluster means that were computed from numbers of size `scale`."""
    n_clusters = len(means)
    if not n_clusters:
        return Estimate(None, None, 0, 0)
    value = float(means.mean())
    if n_clusters == 1:
        return Estimate(value, None, n, n_clusters, ONE_CLUSTER)
    if not has_spread(means, float(np.abs(means).max()) if scale is None else scale):
        return Estimate(value, None, n, n_clusters, NO_SPREAD)
    low, high = stats.t.interval(confidence, n_clusters - 1, loc=value, scale=stats.sem(means))
    return Estimate(value, (float(low), float(high)), n, n_clusters)


def has_spread(means: FloatArray, scale: float) -> bool:
    """Whether the means differ by more than the rounding of float64 numbers of size `scale`."""
    return bool(np.ptp(means) > 1e-12 * scale)
