"""Distances between the features of generated and of real images: FID and KID."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidebench.metrics.base import FloatArray, ReferenceSet, SetMetric
from guidebench.models.readers.base import Reader
from guidebench.models.readers.features import FeatureNetwork
from guidebench.problems import Picture

LARGE = 20_000
"""Samples from which on the bias of FID hardly matters."""


class FeatureDistance(SetMetric):
    """What FID and KID share: one network, one set of real images.

    Args:
        features: describes an image by a vector.
        reference: real images.
    """

    higher_is_better: bool = False
    value_only = ("reference",)

    def __init__(self, features: FeatureNetwork, reference: ReferenceSet) -> None:
        self.network, self.reference_set = features, reference

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.network,)

    def fingerprint(self) -> str:
        return f"pooled features; {self.network.fingerprint()}"

    @property
    def protocol(self) -> str:
        return f"features of {self.network.network_id}; against {self.reference_set.name}; 8-bit samples"

    @property
    def reference(self) -> Sequence[Picture]:
        return self.reference_set.pictures()

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        return self.network.pooled(images)


class FID(FeatureDistance):
    r"""Frechet distance between two Gaussians fitted to features.

        FID = |mu - mu_r|^2 + tr(C + C_r - 2 (C_r^1/2 C C_r^1/2)^1/2)

    with the unbiased covariances. The root is exact: eigenvalues of the symmetric product, no iteration.

    Cost: one forward of the feature network per image; O(d^3) per value.

    References:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
        NeurIPS 2017; Chong and Forsyth, "Effectively Unbiased FID and Inception Score and Where to Find Them",
        CVPR 2020, for the bias at small n.
    """

    paper: str = "Heusel et al. 2017; LGD, Tab. 1 and 4"
    unit: str = ""

    def __init__(self, features: FeatureNetwork, reference: ReferenceSet) -> None:
        super().__init__(features, reference)
        self._moments: tuple[FloatArray, FloatArray, FloatArray] | None = None

    def value(self, features: FloatArray, reference: FloatArray) -> float:
        if len(features) < 2:
            return float("nan")
        mean_r, root_r = self._reference_moments(reference)
        mean, covariance = features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))
        eigenvalues = np.linalg.eigvalsh(root_r @ covariance @ root_r)
        overlap = np.sqrt(eigenvalues.clip(min=0)).sum()
        return float(
            np.square(mean - mean_r).sum() + np.trace(covariance) + np.square(root_r).sum() - 2 * overlap
        )

    def _reference_moments(self, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and symmetric root of the covariance, kept for the next value against the same array."""
        if self._moments is None or self._moments[0] is not reference:
            eigenvalues, vectors = np.linalg.eigh(np.atleast_2d(np.cov(reference, rowvar=False)))
            root = (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T
            self._moments = (reference, reference.mean(axis=0), root)
        return self._moments[1:]

    def caveat(self, n: int, d: int) -> str:
        if n >= LARGE:
            return ""
        singular = f" for features of dimension {d}, whose covariance is then singular" if n <= d else ""
        return (
            f"as few as {n} samples{singular}: too large by an amount that falls as 1/n, which the interval does not "
            f"cover; compare only values of equal n, and KID, which is unbiased, with values of {LARGE} samples"
        )


class KID(FeatureDistance):
    r"""Squared maximum mean discrepancy of features, times 1000, with k(x, y) = (x . y / d + 1)^3.

        KID = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

    Unbiased at every n, and so may be negative.

    Cost: one forward of the feature network per image; O(n (n + m) d) per value.

    References:
        Binkowski et al., "Demystifying MMD GANs", ICLR 2018.

    Differs from the paper: all samples at once instead of the mean over random subsets.
    """

    paper: str = "Binkowski et al. 2018"
    unit: str = "x 1000"

    def __init__(self, features: FeatureNetwork, reference: ReferenceSet) -> None:
        super().__init__(features, reference)
        self._within: tuple[FloatArray, float] | None = None

    def value(self, features: FloatArray, reference: FloatArray) -> float:
        if min(len(features), len(reference)) < 2:
            return float("nan")
        if self._within is None or self._within[0] is not reference:
            self._within = (reference, _mean_of_pairs(reference))
        between = sum(kernel.sum() for kernel in _kernels(features, reference))
        between /= len(features) * len(reference)
        return float(1000 * (_mean_of_pairs(features) + self._within[1] - 2 * between))

    def leaving_out(self, features: FloatArray, reference: FloatArray, codes: NDArray[np.intp]) -> FloatArray:
        r"""From sums of the kernel over pairs of groups, which are computed once.

        Without group g, sum_{i != j} k(x_i, x_j) is the whole sum minus 2 S_g. + S_gg, with S_gh the sum over i in g
        and j in h.
        """
        if min(len(features), len(reference)) < 2:
            return super().leaving_out(features, reference, codes)
        self.value(features[:2], reference)  # keeps the reference's own mean
        assert self._within is not None
        member = np.eye(int(codes.max()) + 1)[codes]  # (n, G)
        rows = np.concatenate([kernel @ member for kernel in _kernels(features, features)])  # (n, G)
        sums = member.T @ rows  # (G, G)
        diagonal = member.T @ (np.square(features).mean(axis=1) + 1) ** 3
        between = member.T @ np.concatenate([kernel.sum(axis=1) for kernel in _kernels(features, reference)])
        n = len(features) - member.sum(axis=0)
        pairs = sums.sum() - 2 * sums.sum(axis=1) + sums.diagonal() - (diagonal.sum() - diagonal)
        with np.errstate(divide="ignore", invalid="ignore"):
            within = pairs / (n * (n - 1))
            crossing = (between.sum() - between) / (n * len(reference))
        return np.where(n < 2, np.nan, 1000 * (within + self._within[1] - 2 * crossing))


def _mean_of_pairs(features: FloatArray) -> float:
    """Mean kernel of two different rows of (n, d)."""
    n = len(features)
    diagonal = ((np.square(features).mean(axis=1) + 1) ** 3).sum()
    return float((sum(kernel.sum() for kernel in _kernels(features, features)) - diagonal) / (n * (n - 1)))


def _kernels(x: FloatArray, y: FloatArray) -> Iterator[FloatArray]:
    """k(x_i, y_j) by blocks of rows, which bound the memory."""
    for start in range(0, len(x), 1024):
        yield (x[start : start + 1024] @ y.T / x.shape[1] + 1) ** 3
