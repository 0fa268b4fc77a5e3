"""Draw docs/images/lgd_obstacle.gif: walks around an obstacle, one map for each row of LGD's Table 3.

    guidebench table lgd/motion_obstacle && python scripts/animate_motions.py [key=value ...]

Overrides are those of the table; the walks are read from its store.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from guidebench.errors import DataError
from guidebench.motion.animation import draw_motions, save_animation
from guidebench.problems import MotionControl
from guidebench.runner.experiment import Experiment
from guidebench.runner.tables import compose_table

CASE, WALKS, SIDE, EVERY, HEADING = "walking-0", 6, 200, 6, 16
FILE = Path(__file__).resolve().parents[1] / "docs" / "images" / "lgd_obstacle.gif"


def main(overrides: list[str]) -> None:
    """Draw the animation."""
    composed = compose_table("lgd/motion_obstacle", overrides)
    maps = []
    for entry in composed.jobs:
        label = composed.specs[""].label(entry.row)
        walks, control = _walks(Experiment(entry.job))
        drawn = draw_motions(walks, control.path, control.obstacle, size=SIDE, every=EVERY)
        maps.append([_headed(picture, label) for picture in drawn])
    frames = [
        np.concatenate([np.asarray(p) for p in pictures], axis=1) for pictures in zip(*maps, strict=True)
    ]
    save_animation([Image.fromarray(frame).quantize(32) for frame in frames], FILE)


def _walks(experiment: Experiment) -> tuple[np.ndarray, MotionControl]:
    """The stored walks of one case, one per seed, (n, frames, 3), and what they should do."""
    walks = []
    for problem in [p for p in experiment.problems if p.case_id == CASE][:WALKS]:
        record = experiment.store.read(experiment.config_hash, problem)
        if record is None:
            raise DataError("the walks are not stored; run `guidebench table lgd/motion_obstacle` first")
        folder = experiment.store.sample_dir(experiment.config_hash, problem)
        walks.append(np.load(folder / record.file("sample")))
    assert isinstance(problem, MotionControl)
    return np.stack(walks), problem


def _headed(picture: Image.Image, text: str) -> Image.Image:
    """The picture under a line of text."""
    headed = Image.new("RGB", (picture.width, picture.height + HEADING), "white")
    headed.paste(picture, (0, HEADING))
    ImageDraw.Draw(headed).text((6, 2), text, fill="black")
    return headed


if __name__ == "__main__":
    main(sys.argv[1:])
