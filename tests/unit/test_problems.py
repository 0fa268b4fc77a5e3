import json
from functools import partial

import numpy as np
import pytest

from guidebench.errors import ConfigError
from guidebench.problems import ClassConditional, Picture, Restoration, TextToImage, field


def restoration(name: str = "test/7", value: int = 0) -> Restoration:
    return Restoration("c", 1, Picture(name, partial(np.full, (2, 2, 3), value, np.uint8)), 2, "cat")


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


def test_fields_are_read_whatever_the_class() -> None:
    problems = [restoration(), ClassConditional("c", 0, 3, "dog")]
    assert field(problems, "label", "loss=classifier") == [2, 3]
    with pytest.raises(
        ConfigError, match=r"metric=psnr reads the field 'reference'.* case 'c' has case_id, seed, label"
    ):
        field(problems, "reference", "metric=psnr")


def test_a_field_that_is_none_is_not_given() -> None:
    unlabelled = Restoration("c", 1, restoration().reference)
    with pytest.raises(ConfigError, match=r"reads the field 'label'.* has case_id, seed, reference; choose"):
        field([restoration(), unlabelled], "label", "loss=classifier")
