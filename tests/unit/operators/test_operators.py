"""Linear operators against dense linear algebra, and bicubic downsampling against torch's own."""

import pytest
import torch
from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.operators.bicubic import BicubicDownsampling
from guidebench.operators.linear import DenseOperator, LinearOperator


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def deficient() -> Tensor:
    matrix = normal(5, 12)
    matrix[4] = matrix[0] - matrix[1]
    return matrix


OPERATORS = [
    (DenseOperator(normal(5, 12)), (12,)),
    (DenseOperator(normal(5, 12, seed=1), (3, 2, 2)), (3, 2, 2)),
    (DenseOperator(normal(12, 4)), (4,)),
    (DenseOperator(deficient()), (12,)),
    (BicubicDownsampling(4), (3, 16, 24)),
    (BicubicDownsampling(2), (1, 8, 8)),
    (BicubicDownsampling(3), (1, 9, 12)),
]


def matrix_of(operator: LinearOperator, shape: tuple[int, ...]) -> Tensor:
    """The dense matrix, column by column."""
    n = torch.Size(shape).numel()
    return operator(torch.eye(n, dtype=torch.float64).view(n, *shape)).flatten(1).T


@pytest.mark.parametrize(("operator", "shape"), OPERATORS)
def test_agrees_with_its_matrix(operator: LinearOperator, shape: tuple[int, ...]) -> None:
    matrix, x = matrix_of(operator, shape), normal(2, *shape, seed=2)
    y = operator(x)
    noise = normal(*y.shape, seed=3)
    flat = y.flatten(1) + noise.flatten(1)

    def close(found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found.flatten(1), expected, rtol=1e-8, atol=1e-8)

    close(y, x.flatten(1) @ matrix.T)
    inverse = torch.linalg.pinv(matrix)
    close(operator.pseudo_inverse(y + noise), flat @ inverse.T)
    rank = torch.linalg.matrix_rank(matrix)
    if rank == len(matrix):  # else the pseudo-inverse drops what H cannot make
        close(operator.adjoint(y + noise), flat @ matrix)
        covariance = 0.49 * matrix @ matrix.T + 0.09 * torch.eye(len(matrix), dtype=torch.float64)
        expected = 0.49 * torch.linalg.solve(covariance, flat.T).T @ matrix
        close(operator.whitened_adjoint(y + noise, 0.7, 0.3), expected)
        close(operator(operator.pseudo_inverse(y + noise)), flat)
    close(operator.adjoint(y), y.flatten(1) @ matrix)
    close(operator.whitened_adjoint(y + noise, 0.7, 0.0), flat @ inverse.T)
    close(operator.from_spectrum(operator.spectrum(x)), x.flatten(1))
    values = operator.singular_values(x).expand(shape).flatten().sort(descending=True).values
    found = torch.linalg.svdvals(matrix)[:rank]
    torch.testing.assert_close(values[:rank], found, rtol=1e-8, atol=1e-10)
    assert (values[rank:] == 0).all()
    close(operator.observed_spectrum(y) * operator.singular_values(x) ** 0, _shown(operator, x).flatten(1))


def _shown(operator: LinearOperator, x: Tensor) -> Tensor:
    return torch.where(operator.singular_values(x) > 0, operator.spectrum(x), torch.zeros_like(x))


@pytest.mark.parametrize("factor", [2, 4])
def test_single_precision_is_exact_enough(factor: int) -> None:
    operator, x = BicubicDownsampling(factor), normal(2, 3, 32, 32, dtype=torch.float32)
    y = operator(x)
    assert y.dtype == torch.float32 and y.shape == (2, 3, 32 // factor, 32 // factor)
    constant = operator(torch.full_like(x, 0.7))
    torch.testing.assert_close(constant, torch.full_like(constant, 0.7), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((y * y).sum(), (x * operator.adjoint(y)).sum(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(operator(operator.pseudo_inverse(y)), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_away_from_borders_it_is_torchs_antialiased_bicubic(factor: int) -> None:
    x = normal(1, 3, 16 * factor, 16 * factor)
    expected = torch.nn.functional.interpolate(
        x, scale_factor=1 / factor, mode="bicubic", antialias=True, align_corners=False
    )
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(BicubicDownsampling(factor)(x)[inner], expected[inner], rtol=1e-9, atol=1e-9)


def test_borders_are_mirrored() -> None:
    x = normal(1, 1, 16, 16)
    mirrored = torch.nn.functional.pad(x, (16, 16, 16, 16), mode="replicate")
    mirrored[..., :16, :], mirrored[..., 32:, :] = (
        mirrored[..., 16:32, :].flip(-2),
        mirrored[..., 16:32, :].flip(-2),
    )
    mirrored[..., :, :16], mirrored[..., :, 32:] = (
        mirrored[..., :, 16:32].flip(-1),
        mirrored[..., :, 16:32].flip(-1),
    )
    operator = BicubicDownsampling(4)
    torch.testing.assert_close(operator(x), operator(mirrored)[..., 4:8, 4:8], rtol=1e-10, atol=1e-10)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 or more"):
        BicubicDownsampling(1)
    with pytest.raises(ConfigError, match="30 x 32"):
        BicubicDownsampling(4)(torch.zeros(1, 3, 30, 32))
