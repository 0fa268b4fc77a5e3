"""Case ids keep names apart, whatever they are written in."""

import itertools
import string

import pytest

from guidebench.data.case_ids import case_id
from guidebench.data.classes import ImageNetClasses, WorldClasses
from guidebench.data.worlds import WORLDS
from guidebench.problems import Problem
from guidebench.runner.store import Store

ALIKE = ["a b", "a-b", "a/b", "a_b", "a.b", "A b", "a  b", " a b", "a b!", "å b", "a ", "a"]
OTHERS = ["猫", "犬", "кошка", "собака", "🐈", "", "-", ".", "x" * 100, "x" * 99 + "y", "x" * 100 + "/1"]


def test_no_two_names_share_an_id() -> None:
    short = ["".join(letters) for n in (1, 2, 3) for letters in itertools.product("aB .-_/é", repeat=n)]
    names = list(dict.fromkeys([*ALIKE, *OTHERS, *short]))
    assert len({case_id(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", [*ALIKE, *OTHERS])
def test_the_store_takes_every_id(tmp_path, name: str) -> None:
    folder = Store(tmp_path).sample_dir("config", Problem(case_id(name), 0))
    assert set(folder.name) <= set(string.ascii_lowercase + string.digits + "._-") and len(folder.name) < 100


def test_plain_names_can_be_read() -> None:
    assert case_id("species bunting") == "species_bunting" and case_id("balance-beam") == "balance-beam"
    assert case_id("Gary Marcus et al.").startswith("gary-marcus-et-al-")


def test_every_class_has_its_own_id() -> None:
    worlds = [name for name, world in WORLDS.items() if world.classes]
    for problems in (WorldClasses(worlds).problems([0]), ImageNetClasses().problems([0])):
        assert len({p.case_id for p in problems}) == len(problems)
