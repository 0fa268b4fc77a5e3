"""Linear operators y = H x, given by their singular value decomposition H = U S V^T."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class LinearOperator(ABC):
    """A linear map of samples; V^T x is the sample's *spectrum*, an array of the sample's own shape.

    A subclass gives the map, its spectrum and its singular values; adjoint, pseudo-inverse and the solution of the
    Gaussian linear model follow. Everything is differentiable and acts row by row.
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """H x, (b, ...) -> (b, ...)."""

    @abstractmethod
    def spectrum(self, x: Tensor) -> Tensor:
        """V^T x, of the shape of x."""

    @abstractmethod
    def from_spectrum(self, coefficients: Tensor) -> Tensor:
        """V c, the inverse of `spectrum`."""

    @abstractmethod
    def observed_spectrum(self, y: Tensor) -> Tensor:
        """S^+ U^T y: the spectrum that an observation y shows, of the shape of x; 0 where it shows nothing."""

    @abstractmethod
    def singular_values(self, like: Tensor) -> Tensor:
        """S, broadcastable to a spectrum shaped as `like`; 0 where H shows nothing."""

    def adjoint(self, y: Tensor) -> Tensor:
        """H^T y."""
        shown = self.observed_spectrum(y)
        return self.from_spectrum(self.singular_values(shown) ** 2 * shown)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """H^+ y, the least x with H x = y."""
        return self.from_spectrum(self.observed_spectrum(y))

    def whitened_adjoint(self, y: Tensor, r: float, sigma_y: float) -> Tensor:
        """r^2 H^T (r^2 H H^T + sigma_y^2 I)^-1 y: the posterior mean of x ~ N(0, r^2 I) given y = H x + sigma_y noise.

        H^+ y where sigma_y is 0.
        """
        shown = self.observed_spectrum(y)
        power = self.singular_values(shown) ** 2
        kept = torch.where(power > 0, r**2 * power / (r**2 * power + sigma_y**2), torch.zeros_like(power))
        return self.from_spectrum(kept * shown)


class DenseOperator(LinearOperator):
    """A matrix, acting on flattened samples.

    Args:
        matrix: (m, n).
        shape: of a sample, n elements; None = (n,).
    """

    def __init__(self, matrix: Tensor, shape: tuple[int, ...] | None = None) -> None:
        self.matrix, self.shape = matrix, shape or (matrix.shape[1],)
        self._u, values, self._vt = torch.linalg.svd(matrix)
        m, n = matrix.shape
        rank = int((values > values.max() * max(m, n) * torch.finfo(matrix.dtype).eps).sum())
        self._values = torch.zeros(n, dtype=matrix.dtype)
        self._values[:rank] = values[:rank]
        self._rank = rank

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x).T

    def spectrum(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self._vt.to(x).T).unflatten(1, self.shape)

    def from_spectrum(self, coefficients: Tensor) -> Tensor:
        return (coefficients.flatten(1) @ self._vt.to(coefficients)).unflatten(1, self.shape)

    def observed_spectrum(self, y: Tensor) -> Tensor:
        shown = y @ self._u[:, : self._rank].to(y) / self._values[: self._rank].to(y)
        return torch.nn.functional.pad(shown, (0, len(self._values) - self._rank)).unflatten(1, self.shape)

    def singular_values(self, like: Tensor) -> Tensor:
        return self._values.to(like).view(self.shape)
