import json
from functools import partial

import numpy as np
import pytest

from guidebench.errors import ConfigError
from guidebench.problems import ClassConditional, Labelled, Picture, Restoration, TextToImage, of_kind


def restoration(name: str = "test/7", value: int = 0) -> Restoration:
    return Restoration("c", 1, 2, "cat", Picture(name, partial(np.full, (2, 2, 3), value, np.uint8)))


def test_a_record_is_small_json_with_pictures_by_name() -> None:
    assert restoration().record() == {
        "case_id": "c",
        "seed": 1,
        "label": 2,
        "name": "cat",
        "reference": "test/7",
    }
    assert json.loads(json.dumps(restoration().record())) == restoration().record()
    assert TextToImage("c", 0, "a cat", "Cats").record() == vars(TextToImage("c", 0, "a cat", "Cats"))


def test_a_picture_is_its_name() -> None:
    assert restoration() == restoration(value=9) != restoration("test/8")
    assert hash(restoration()) == hash(restoration(value=9))
    assert (restoration(value=9).reference.load() == 9).all()


def test_captions() -> None:
    assert restoration().caption == "test/7"
    assert ClassConditional("c", 0, 2, "cat").caption == "cat"
    assert TextToImage("c", 0, "a cat", "").caption == "a cat"


def test_problems_of_another_kind_are_refused() -> None:
    problems = [restoration(), ClassConditional("c", 0, 2, "cat")]
    assert of_kind(Labelled, problems, "loss=classifier") == problems
    with pytest.raises(
        ConfigError, match="metric=psnr needs Restoration problems, got ClassConditional, Restoration"
    ):
        of_kind(Restoration, problems, "metric=psnr")
