"""The Inception of FID against torchvision's blocks, which differ from it in pooling alone."""

import torch
from torch.nn.functional import max_pool2d
from torchvision.models.inception import InceptionA, InceptionE

from guidebench.models.networks.fid_inception import _A, _E, _LastE
from guidebench.models.readers.features import InceptionV3


def test_averages_leave_out_the_padding() -> None:
    theirs = InceptionA(16, 4).eval()
    ours = _A(16, 4).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 16, 6, 6)
    a, b = ours(x), theirs(x)
    torch.testing.assert_close(a[:, :, 1:-1, 1:-1], b[:, :, 1:-1, 1:-1])
    torch.testing.assert_close(a[:, :-4], b[:, :-4])  # the other branches
    assert not torch.allclose(a[:, -4:, 0], b[:, -4:, 0])
    flat = torch.full((1, 16, 6, 6), 0.3)
    assert ours(flat)[:, -4:].flatten(2).std(2).max() < 1e-7  # a mean of equal values, at the border too


def test_the_last_block_takes_maxima() -> None:
    average, maximum = _E(16).eval(), _LastE(16).eval()
    maximum.load_state_dict(average.state_dict())
    x = torch.rand(1, 16, 5, 5)
    expected = average.branch_pool(max_pool2d(x, 3, 1, 1))
    torch.testing.assert_close(maximum(x)[:, -192:], expected)
    torch.testing.assert_close(maximum(x)[:, :-192], average(x)[:, :-192])
    assert isinstance(average, InceptionE)


def test_features_of_random_weights() -> None:
    network = InceptionV3(random_weights=True)
    features = network.pooled(torch.rand(1, 3, 64, 64))
    assert features.shape == (1, 2048) and features.isfinite().all()
    assert "random" in network.network_id and "random" in network.fingerprint()
    assert network.network_id != InceptionV3().network_id
