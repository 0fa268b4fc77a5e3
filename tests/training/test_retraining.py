"""One small model of the embedded suite is trained from nothing by the script, and again with an interruption."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_STAGES = "stages=[{name: all, worlds: {animals: 1}, steps: 150}]"
_INTERRUPTED = """
import sys
sys.path.insert(0, "scripts")
from embedded import stages
from guidebench.artefacts.trainer import Trainer

stages.SECONDS = 0.0  # a save is due after every step
update = Trainer._update_ema

def stop_in_step_61(self, step):
    if step == 60:
        raise KeyboardInterrupt
    update(self, step)

Trainer._update_ema = stop_in_step_61
import train_embedded
train_embedded.main()
"""


@dataclass(frozen=True)
class Place:
    """Where one training leaves its checkpoints and weights."""

    root: Path
    checkout: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """The training script with the arguments of this test."""
        arguments = [sys.executable, *command, "animals_guide", "images=2000", _STAGES]
        places = {
            "GUIDEBENCH_CHECKPOINTS": str(self.root / "checkpoints"),
            "GUIDEBENCH_WEIGHTS": str(self.root / "weights"),
        }
        return subprocess.run(
            arguments, cwd=self.checkout, env=os.environ | places, capture_output=True, text=True, check=False
        )

    @property
    def weights(self) -> Path:
        return self.root / "weights" / "animals_guide"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained"), Path(__file__).resolve().parents[2])
    done = place.run("scripts/train_embedded.py")
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_a_model_trained_from_nothing_reads_held_out_pictures(trained: Place) -> None:
    from guidebench.data.worlds import WORLDS
    from guidebench.models.readers.classifiers import SmallClassifier
    from guidebench.studies.zoo.pictures import held_out
    from guidebench.studies.zoo.reading import read_right

    pictures = held_out(WORLDS["animals"], 180, portraits=True)
    right = read_right(SmallClassifier(str(trained.weights)), pictures, multilabel=False)
    assert right.mean() > 0.6  # chance is 1 / 9


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(trained: Place, tmp_path: Path) -> None:
    place = Place(tmp_path, trained.checkout)
    shutil.copytree(trained.root / "checkpoints" / "data", tmp_path / "checkpoints" / "data")
    stopped = place.run("-c", _INTERRUPTED)
    assert stopped.returncode != 0 and "KeyboardInterrupt" in stopped.stderr
    assert not place.weights.exists()
    resumed = place.run("scripts/train_embedded.py")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming at step 60" in resumed.stdout
    for name in ("model.safetensors", "config.json"):
        assert (place.weights / name).read_bytes() == (trained.weights / name).read_bytes()
