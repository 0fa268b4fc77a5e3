"""A small recogniser and a small diffusion autoencoder of faces are trained from nothing by the script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guidebench.data.worlds.faces.world import FACES
from guidebench.models.diffae import DiffAE
from guidebench.models.readers.face_recognition import TorchRecogniser
from guidebench.pixels import to_tensor
from guidebench.studies.zoo.pictures import held_out

CHECKOUT = Path(__file__).resolve().parents[2]


def train(root: Path, name: str, *overrides: str) -> Path:
    """The folder of what the script has trained."""
    places = {
        "GUIDEBENCH_CHECKPOINTS": str(root / "checkpoints"),
        "GUIDEBENCH_WEIGHTS": str(root / "weights"),
    }
    done = subprocess.run(
        [sys.executable, "scripts/train_embedded.py", name, *overrides],
        cwd=CHECKOUT,
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root / "weights" / name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["face_elasticface", "face_adaface"])
def test_a_recogniser_tells_persons_apart_that_it_has_not_seen(name: str, tmp_path: Path) -> None:
    small = ("persons=150", "portraits=6", "batch_size=64", "architecture.image_size=32", "warmup=20")
    network = TorchRecogniser(str(train(tmp_path, name, *small, "stages=[{name: all, steps: 150}]")))
    subjects = [FACES.subject(number) for number in range(1, 51)]
    with torch.no_grad():
        neutral, smiling = (
            network.embed(to_tensor([FACES.render(getattr(subject, which)) for subject in subjects]))
            for which in ("neutral", "smiling")
        )
    nearest = (neutral @ smiling.T).argmax(1)
    assert (nearest == torch.arange(50)).float().mean() > 0.3  # chance is 1 / 50


@pytest.mark.slow
def test_the_autoencoder_learns_the_noise_of_held_out_pictures(tmp_path: Path) -> None:
    small = (
        "images=600",
        "batch_size=16",
        "warmup=20",
        "architecture.image_size=32",
        "architecture.attention_resolutions=[4]",
    )
    stage = "stages=[{name: all, worlds: {faces: 1}, steps: 150, weighting: velocity, least_alpha: 0.02}]"
    model = DiffAE(str(train(tmp_path, "faces_autoencoder", *small, stage)))
    model.load("cpu")
    pictures = torch.nn.functional.avg_pool2d(to_tensor(held_out(FACES, 60).images), 2)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    alpha, sigma = model.schedule.alpha(400), model.schedule.sigma(400)
    x_t = alpha * model.encode(pictures) + sigma * noise
    with torch.no_grad():
        error = (model.eps(x_t, 400.0, model.semantic(pictures)) - noise).square().mean()
    assert error < 0.3  # predicting nothing is 1; the code itself needs more steps than these
