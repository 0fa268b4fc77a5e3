"""What the morphing methods are tried on: see `tiny_faces`."""

import pytest

from guidebench.losses.identity import Identity
from guidebench.problems import Morph
from tiny_faces import LinearRecogniser, TinyAutoencoder, pair


@pytest.fixture
def model() -> TinyAutoencoder:
    return TinyAutoencoder()


@pytest.fixture
def identity() -> Identity:
    return Identity(LinearRecogniser())


@pytest.fixture
def pairs() -> list[Morph]:
    return [pair(0, 1), pair(1, 2), pair(3, 0)]
