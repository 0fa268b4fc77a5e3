"""Blends, against scipy's and against their definition."""

import numpy as np
import pytest
import torch
from scipy.spatial import geometric_slerp

from guidebench.methods.morphing.blending import blend, lerp, slerp


def test_slerp_is_scipys_on_unit_vectors() -> None:
    a, b = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b = (x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) for x in (a, b))
    for weight in (0.0, 0.3, 0.5, 1.0):
        ours = slerp(a, b, weight)
        for row in range(4):
            theirs = geometric_slerp(a[row].flatten().numpy(), b[row].flatten().numpy(), weight)
            np.testing.assert_allclose(ours[row].flatten().numpy(), theirs, atol=1e-12)


def test_noises_keep_their_norm_on_the_sphere_and_lose_it_on_the_line() -> None:
    a, b = torch.randn(2, 5, 3000, generator=torch.Generator().manual_seed(0))
    expected = a.norm(dim=1)
    torch.testing.assert_close(slerp(a, b, 0.5).norm(dim=1), expected, rtol=0.03, atol=0)
    torch.testing.assert_close(lerp(a, b, 0.5).norm(dim=1), expected / 2**0.5, rtol=0.03, atol=0)


@pytest.mark.parametrize("how", ["slerp", "lerp"])
def test_every_row_has_its_own_weight_and_ends_are_ends(how: str) -> None:
    a, b = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    mixed = blend(a, b, torch.tensor([0.0, 1.0, 0.25]), how)  # type: ignore[arg-type]
    torch.testing.assert_close(mixed[0], a[0])
    torch.testing.assert_close(mixed[1], b[1])
    torch.testing.assert_close(mixed[2:], blend(a[2:], b[2:], 0.25, how))  # type: ignore[arg-type]
    assert not torch.allclose(mixed[2], a[2])


def test_parallel_vectors_are_blended_on_the_line() -> None:
    a = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)
    assert slerp(a, a, torch.tensor([0.1, 0.9])).isfinite().all()
