"""Draw docs/images/embedded_<world>.png: held-out pictures of every world above what the text-to-image model makes of
the captions of others, nothing selected; and embedded_pixels.png, with what the pixel-space model makes of nothing.

    python scripts/contact_sheets.py [key=value ...]

Overrides are Hydra's, as for `guidebench run`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from guidebench.data.pictures import WorldPictures
from guidebench.data.worlds import WORLDS
from guidebench.devices import device
from guidebench.methods.base import Setup
from guidebench.models.adm import ADM
from guidebench.runner.compose import compose_config, merge
from guidebench.runner.job import Job
from guidebench.samplers.ddim import DDIM
from guidebench.studies.zoo.drawing import generate
from guidebench.studies.zoo.pictures import Images, held_out

COLUMNS, ROWS, GAP = 10, 3, 24
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"


def main(overrides: list[str]) -> None:
    """Draw every sheet."""
    job = Job.from_config(compose_config(merge(["sampler=ddim", "n_steps=20"], overrides)))
    model = job.build("model")
    model.load(device(job.config["device"]))
    setup = Setup(model, job.build("sampler"), cfg_scale=job.config["cfg_scale"])
    count = COLUMNS * ROWS
    for name, world in WORLDS.items():
        texts = [caption.text for caption in held_out(world, count, start=count).captions]
        _save(name, held_out(world, count).images, generate(setup, texts, f"sheet {name}"))
    pixels = ADM("embedded/pixels")
    pixels.load(model.device)
    unconditional = Setup(pixels, DDIM(n_steps=50, eta=1.0))
    real = WorldPictures(["animals", "birds"], "test", count, pixels.sample_shape[-1])
    images = np.stack([picture.load() for picture in real.pictures()])
    _save("pixels", images, generate(unconditional, [""] * count, "sheet pixels"))


def _save(name: str, real: Images, made: Images) -> None:
    drawn = [_grid(images) for images in (real, made)]
    between = np.full((GAP, drawn[0].shape[1], 3), 255, np.uint8)
    sheet = Image.fromarray(np.concatenate([drawn[0], between, drawn[1]]))
    sheet.save(FOLDER / f"embedded_{name}.png", optimize=True)


def _grid(images: Images) -> Images:
    """Pictures in rows, 2 pixels of white between them."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    rows = padded.reshape(ROWS, COLUMNS, *padded.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
