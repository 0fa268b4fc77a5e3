"""Paired comparisons of two rows, and multiplicity control over all comparisons of a table.

The unit is the prompt, as in `report.statistics`: seeds of one prompt are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from guidebench.report.statistics import (
    NO_SPREAD,
    ONE_CLUSTER,
    UNBOUNDED,
    ZERO_DENOMINATOR,
    Estimate,
    FloatArray,
    SetValue,
    has_spread,
    is_present,
    pseudo_values,
    t_estimate,
)


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


def paired_difference(pairs: Pairs, confidence: float = 0.95) -> Estimate:
    """Mean paired difference, treatment minus control, with a t interval over prompts."""
    return t_estimate(pairs.treatment - pairs.control, pairs.n, confidence, scale=_scale(pairs))


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
    if not has_spread(difference, _scale(pairs)):
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
    if len(pairs.treatment) < 2 or not has_spread(pairs.treatment - pairs.control, _scale(pairs)):
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


def _scale(pairs: Pairs) -> float:
    return float(np.abs(np.concatenate([pairs.treatment, pairs.control])).max(initial=0.0))
