"""The analytic model and loss of `mixture_model`, for every method's tests."""

import pytest

from guidebench.problems import TextToImage
from mixture_model import Mixture, Target


@pytest.fixture
def mixture() -> Mixture:
    return Mixture()


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def problems() -> list[TextToImage]:
    return [TextToImage(f"case-{i}", 3, "prompt" + "!" * i, "some") for i in range(3)]
