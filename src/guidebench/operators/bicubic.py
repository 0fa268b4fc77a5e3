"""Bicubic downsampling as a separable strided convolution with reflected borders."""

from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.operators.linear import LinearOperator

_A = -0.5


class _Axis(NamedTuple):
    """One axis: H = U diag(s) V^T, with V complete."""

    matrix: Tensor
    u: Tensor
    s: Tensor
    vt: Tensor


class BicubicDownsampling(LinearOperator):
    """Every `factor`-th pixel of the image after a bicubic filter: y = A x A^T on each channel.

    Taps are the pixels at less than 2 `factor` from the middle of those that an output stands for. Their weights are
    w(d / factor), normalised, with Keys' cubic w for a = -0.5 at the distance d. Pixels beyond a border are those
    before it, mirrored. Constants are kept.

    Args:
        factor: of the size, 2 or more; sizes must be its multiples.

    Raises:
        ConfigError: the factor, or at the first call the size of the images.

    References: Kawar et al. 2022 (DDRM), "SRConv" of the authors' code; Keys 1981 for the kernel.
    """

    revision: ClassVar[int] = 2

    def __init__(self, factor: int = 4) -> None:
        if factor < 2:
            raise ConfigError(f"operator.factor: got {factor}; allowed is 2 or more")
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        rows, columns = self._axes(x.shape)
        return rows.matrix.to(x) @ x @ columns.matrix.to(x).T

    def spectrum(self, x: Tensor) -> Tensor:
        rows, columns = self._axes(x.shape)
        return rows.vt.to(x) @ x @ columns.vt.to(x).T

    def from_spectrum(self, coefficients: Tensor) -> Tensor:
        rows, columns = self._axes(coefficients.shape)
        return rows.vt.to(coefficients).T @ coefficients @ columns.vt.to(coefficients)

    def observed_spectrum(self, y: Tensor) -> Tensor:
        height, width = self.factor * y.shape[-2], self.factor * y.shape[-1]
        rows, columns = self._axes((height, width))
        shown = (rows.u.to(y).T @ y @ columns.u.to(y)) / (rows.s[:, None] * columns.s).to(y)
        return torch.nn.functional.pad(shown, (0, width - y.shape[-1], 0, height - y.shape[-2]))

    def singular_values(self, like: Tensor) -> Tensor:
        rows, columns = self._axes(like.shape)
        height, width = like.shape[-2:]
        return torch.outer(*(_padded(axis.s, n) for axis, n in ((rows, height), (columns, width)))).to(like)

    def _axes(self, shape: tuple[int, ...]) -> tuple[_Axis, _Axis]:
        height, width = shape[-2:]
        if height % self.factor or width % self.factor:
            raise ConfigError(
                f"operator.factor: {self.factor} does not divide images of {height} x {width}; choose one that does"
            )
        return _axis(height, self.factor), _axis(width, self.factor)


@lru_cache(maxsize=8)
def _axis(size: int, factor: int) -> _Axis:
    """The filter along an axis of `size` pixels, with its decomposition, float64."""
    # Distances of the taps from the middle, which is a pixel where the factor is odd and lies between two where even.
    offsets = (
        torch.arange(1.0, 4 * factor) - 2 * factor
        if factor % 2
        else torch.arange(4 * factor) - 2 * factor + 0.5
    )
    distance = (offsets.double() / factor).abs()
    weights = torch.where(
        distance < 1,
        (_A + 2) * distance**3 - (_A + 3) * distance**2 + 1,
        _A * distance**3 - 5 * _A * distance**2 + 8 * _A * distance - 4 * _A,
    )
    weights = weights / weights.sum()
    middles = factor * torch.arange(size // factor)[:, None] + (factor - 1) / 2
    taps = (middles + offsets).long()
    # mirrored as often as a tap lies beyond a border: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    wrapped = taps.remainder(2 * size)
    taps = torch.where(wrapped < size, wrapped, 2 * size - 1 - wrapped)
    matrix = torch.zeros(size // factor, size, dtype=torch.float64)
    matrix.scatter_add_(1, taps, weights.expand(size // factor, -1))
    u, s, vt = torch.linalg.svd(matrix)
    return _Axis(matrix, u, s, vt)


def _padded(values: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, size - len(values)))
