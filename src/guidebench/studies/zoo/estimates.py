"""Numbers with their intervals, and the bars that they are held against."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Number:
    """A measured number.

    Args:
        value: NaN where the data define none.
        interval: 95 % confidence limits; None where there are none.
        n: how many pictures, prompts or attributes it was measured on.
        no_interval: why `interval` is None.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    no_interval: str = ""


@dataclass(frozen=True)
class Bar:
    """What a number should reach; None on a side that does not matter."""

    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, number: Number) -> str:
        """The bar and whether the number meets it, in words; "close" where the interval holds the bar too."""
        ends = [
            f"{word} {limit:g}"
            for word, limit in (("at least", self.at_least), ("at most", self.at_most))
            if limit is not None
        ]
        if not ends:
            return "reported"
        if not np.isfinite(number.value):
            return f"{' and '.join(ends)}: not measured"
        low, high = number.interval or (number.value, number.value)
        close = any(low < limit < high for limit in (self.at_least, self.at_most) if limit is not None)
        met = (self.at_least is None or number.value >= self.at_least) and (
            self.at_most is None or number.value <= self.at_most
        )
        return f"{' and '.join(ends)}: {'met' if met else 'missed'}{', close' if close else ''}"


REPORTED = Bar()


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Args:
        what: was measured, with its unit.
        number: the result.
        bar: what it is held against.
    """

    what: str
    number: Number
    bar: Bar = REPORTED


def rate(right: Booleans) -> Number:
    """Percentage of True, of (n,), with Wilson's interval."""
    successes, n = int(right.sum()), right.size
    low, high = proportion_confint(successes, n, alpha=1 - CONFIDENCE, method="wilson")
    return Number(100 * successes / n, (100 * float(low), 100 * float(high)), n)


def mean(values: Floats) -> Number:
    """Mean of (n,), with Student's t interval."""
    n = len(values)
    if n < 2:
        return Number(float(values.mean()) if n else float("nan"), None, n, "too few")
    low, high = stats.t.interval(CONFIDENCE, n - 1, loc=values.mean(), scale=stats.sem(values))
    return Number(float(values.mean()), (float(low), float(high)), n)


def error_overlap(first: Booleans, second: Booleans, seed: int = 0) -> Number:
    """P(both wrong) / (P(first wrong) P(second wrong)): 1 where errors are independent, with a bootstrap interval.

    Args:
        first: whether the first model is right, (n,).
        second: whether the second is right on the same pictures, (n,).
        seed: of the bootstrap.
    """
    n = len(first)
    counts = np.array([(~first & ~second).sum(), (~first & second).sum(), (first & ~second).sum(), 0])
    counts[3] = n - counts.sum()

    def ratio(table: npt.NDArray[np.int_]) -> Floats:
        both, one, other, _ = np.moveaxis(table.astype(np.float64), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = n * both / ((both + one) * (both + other))
        return found

    value = float(ratio(counts))
    if not np.isfinite(value):
        return Number(float("nan"), None, n, "a model makes no errors")
    resampled = ratio(np.random.default_rng(seed).multinomial(n, counts / n, size=4000))
    tails = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Number(value, (float(tails[0]), float(tails[1])), n)


def correlation(predicted: Floats, true: Floats) -> Number:
    """Pearson's correlation of (n,) and (n,), with Fisher's interval."""
    found = stats.pearsonr(predicted, true)
    low, high = found.confidence_interval(CONFIDENCE)
    return Number(float(found.statistic), (float(low), float(high)), len(true))


def jackknife(value: Callable[[npt.NDArray[np.intp]], float], n: int, groups: int = 20) -> Number:
    """A value of n rows with a t interval from leaving out one group of rows at a time.

    Args:
        value: of the rows with these indices.
        n: how many rows there are.
        groups: of consecutive rows.
    """
    rows = np.arange(n)
    whole = value(rows)
    if n < 2 * groups:
        return Number(whole, None, n, "too few")
    parts = np.array([value(rows[rows * groups // n != group]) for group in range(groups)])
    error = np.sqrt((groups - 1) / groups * ((parts - parts.mean()) ** 2).sum())
    half = stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1) * error
    return Number(whole, (float(whole - half), float(whole + half)), n)
