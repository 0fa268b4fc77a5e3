"""Arithmetic: full float32 wherever a network runs, whatever was set before."""

from collections.abc import Callable, Iterator

import pytest
import torch

from guidebench.devices import device
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.models.networks.adm_unet import UNet
from guidebench.models.readers import clip
from guidebench.models.readers.classifiers import SmallClassifier, TorchvisionClassifier
from guidebench.models.readers.clip import CLIP
from guidebench.models.readers.features import InceptionV3
from tiny_models import ARCHITECTURE


@pytest.fixture(autouse=True)
def coarse() -> Iterator[None]:
    """What a user or a library may have asked for."""
    before = (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before[1:]


def _latent_diffusion(directories: dict[str, str]) -> None:
    LatentDiffusion("tiny", architecture=ARCHITECTURE, random_weights=True).load("cpu")


LOADS: dict[str, Callable[[dict[str, str]], object]] = {
    "device": lambda directories: device("cpu"),
    "model": _latent_diffusion,
    "clip": lambda directories: CLIP(directory=directories["guide"]).encode_text(["a"]),
    "classifier": lambda directories: TorchvisionClassifier("resnet18", "IMAGENET1K_V1", True).load("cpu"),
    "small classifier": lambda directories: SmallClassifier("embedded/animals_judge").load("cpu"),
    "features": lambda directories: InceptionV3(random_weights=True).load("cpu"),
}


@pytest.mark.parametrize("what", LOADS)
def test_loading_any_network_asks_for_full_precision(clip_directories: dict[str, str], what: str) -> None:
    clip._load.cache_clear()
    for module in ("classifiers", "features"):
        for name, found in vars(__import__(f"guidebench.models.readers.{module}", fromlist=[module])).items():
            if name.startswith("_load") and hasattr(found, "cache_clear"):
                found.cache_clear()
    LOADS[what](clip_directories)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cudnn.benchmark


@pytest.mark.gpu
def test_products_on_a_gpu_have_24_bits() -> None:
    where = device("cuda")
    a, b = torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    assert ((a.to(where) @ b.to(where)).cpu() - exact).abs().max() < 1e-3  # TF32: about 1e-1
    torch.manual_seed(0)
    network = UNet(image_size=16, model_channels=32, channel_mult=(1, 2), num_head_channels=32).eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    x, times = torch.randn(1, 3, 16, 16), torch.zeros(1)
    expected = network.double()(x.double(), times)
    found = network.float().to(where)(x.to(where), times.to(where)).cpu()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
