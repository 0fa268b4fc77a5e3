"""What all tests share: no network, one thread per process, and small models with random weights."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks run slower on more

from pathlib import Path

import pytest

from guidebench.models.latent_diffusion import LatentDiffusion
from tiny_models import ARCHITECTURE, make_classifier_directory, make_clip_directory, make_head_directory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def tiny_model() -> LatentDiffusion:
    """A Stable Diffusion-like model with random weights: latents 4 x 8 x 8, images 32 x 32."""
    model = LatentDiffusion("tiny", architecture=ARCHITECTURE, random_weights=True)
    model.load("cpu")
    return model


@pytest.fixture(scope="session")
def clip_directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two tiny CLIPs with different random weights, for 16 x 16 images: `guide` and `score`."""
    return {
        name: str(make_clip_directory(tmp_path_factory.mktemp(name), seed=seed))
        for seed, name in enumerate(("guide", "score"))
    }


@pytest.fixture(scope="session")
def classifier_directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny classifiers of cat, dog, tiger and lion with different random weights: `guide`, `judge` and `features`."""
    families = {"guide": "vgg", "judge": "resnet", "features": "resnet"}
    return {
        name: str(make_classifier_directory(tmp_path_factory.mktemp(name), family, seed=seed))
        for seed, (name, family) in enumerate(families.items())
    }


@pytest.fixture(scope="session")
def head_directories(
    clip_directories: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Tiny aesthetic heads of these CLIPs: `guide` and `score`."""
    return {
        name: str(make_head_directory(tmp_path_factory.mktemp(f"head_{name}"), clip, seed=seed))
        for seed, (name, clip) in enumerate(clip_directories.items())
    }


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Published files that are no part of the repository: GUIDEBENCH_REAL_DATA, or ../shared/data/real."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
    folder = Path(os.environ.get("GUIDEBENCH_REAL_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no published files at {folder}; set GUIDEBENCH_REAL_DATA to their folder")
    return folder


@pytest.fixture
def checkout() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]
