"""Several portraits of each of many persons, drawn once and kept as one array: what recognisers are trained on."""

import itertools
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from embedded.data import CHECKPOINTS
from guidebench.data.worlds.faces.world import FACES


def load_people(split: str, persons: int, portraits: int) -> np.ndarray:
    """The first persons of a split, (persons, portraits, 64, 64, 3) uint8, rendered on the first call."""
    path = CHECKPOINTS / "data" / "people" / f"{split}-{persons}x{portraits}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        edges = [*range(0, persons, 50), persons]
        jobs = [(split, portraits, a, b) for a, b in itertools.pairwise(edges)]
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            parts = list(pool.map(_draw, *zip(*jobs, strict=True)))
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, np.concatenate(parts))
        partial.replace(path)
    found: np.ndarray = np.load(path, mmap_mode="r")
    return found


def _draw(split: str, portraits: int, start: int, stop: int) -> np.ndarray:
    return np.stack(
        [
            [FACES.render(face) for face in FACES.person(split, index, portraits)]
            for index in range(start, stop)
        ]
    )
