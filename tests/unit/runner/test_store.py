import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guidebench.errors import StoreError
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, TextToImage
from guidebench.runner.store import Record, Store
from guidebench.samples import Part

HASH = "0123456789abcdef"
CONFIG = {"method": {"scale": 0.1}}
PROBLEM = TextToImage("colors-000", 3, "../a red circle/", "Colors")


def pixels(value: int = 7) -> np.ndarray:
    """Noise, so that the file is larger than its headers."""
    return np.random.default_rng(value).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def image(value: int = 7) -> dict[str, Part]:
    """A sample of one part."""
    return {"sample": Part("image", to_tensor([pixels(value)])[0])}


LATENTS = {"latents": Part("tensors", torch.ones(4, 2, 2))}


def record(problem: Problem = PROBLEM, **changes: object) -> Record:
    known = Record(
        problem=dataclasses.asdict(problem),
        config_hash=HASH,
        status="ok",
        failure="",
        nfe_fwd=12,
        nfe_bwd=6,
        seconds=0.25,
        peak_memory_mb=100.5,
        history={"loss": [0.5, 0.25]},
        environment={"torch": "2"},
    )
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def stored(store: Store) -> Store:
    store.write(HASH, CONFIG, PROBLEM, record(), image() | LATENTS)
    return store


def test_what_is_written_is_read(stored: Store) -> None:
    read = stored.read(HASH, PROBLEM)
    assert read is not None
    assert dataclasses.replace(read, files={}, parts={}) == record()
    assert read.parts == {"sample": "image", "latents": "tensors"}
    assert set(read.files) == {"sample.png", "latents.safetensors"}
    folder = stored.sample_dir(HASH, PROBLEM)
    with Image.open(folder / "sample.png") as png:
        assert np.array_equal(np.asarray(png), pixels())
    assert json.loads((folder.parent / "config.json").read_text()) == CONFIG
    assert {p.name for p in folder.parent.iterdir()} == {"config.json", folder.name}


def test_a_failed_sample_has_no_image(store: Store) -> None:
    store.write(HASH, CONFIG, PROBLEM, record(status="failed", failure="x_t at step 3", history={}), {})
    read = store.read(HASH, PROBLEM)
    assert read is not None and (read.status, read.failure, read.files) == ("failed", "x_t at step 3", {})


def test_reading_writes_nothing(store: Store) -> None:
    assert store.read(HASH, PROBLEM) is None
    assert store.read_metric("m", "b") is None
    assert not store.root.exists()


def test_problems_that_differ_anywhere_are_different_samples(stored: Store) -> None:
    for change in ({"seed": 4}, {"prompt": "a blue circle"}, {"case_id": "colors-001"}):
        assert stored.read(HASH, dataclasses.replace(PROBLEM, **change)) is None
    assert stored.read("f" * 16, PROBLEM) is None


def test_the_first_of_two_writers_wins(stored: Store) -> None:
    folder = stored.sample_dir(HASH, PROBLEM)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
    stored.write(HASH, CONFIG, PROBLEM, record(nfe_fwd=99), image(8))
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
    assert not list(folder.parent.glob(".draft-*"))


def test_a_part_that_is_missing_is_added(store: Store) -> None:
    store.write(HASH, CONFIG, PROBLEM, record(), image())
    store.write(HASH, CONFIG, PROBLEM, record(nfe_fwd=99), image() | LATENTS)
    read = store.read(HASH, PROBLEM)
    assert read is not None and (read.nfe_fwd, set(read.parts)) == (99, {"sample", "latents"})
    assert not [p for p in store.sample_dir(HASH, PROBLEM).parent.iterdir() if p.name.startswith(".")]


def test_samples_that_changed_places_are_told_and_not_read(
    stored: Store, caplog: pytest.LogCaptureFixture
) -> None:
    other = dataclasses.replace(PROBLEM, seed=4)
    stored.write(HASH, CONFIG, other, record(other), image(8))
    a, b = stored.sample_dir(HASH, PROBLEM), stored.sample_dir(HASH, other)
    os.rename(a, a.with_name("c"))
    os.rename(b, a)
    os.rename(a.with_name("c"), b)
    assert stored.read(HASH, PROBLEM) is None and stored.read(HASH, other) is None
    assert "belongs to another problem" in caplog.text
    stored.write("f" * 16, CONFIG, PROBLEM, record(config_hash="f" * 16), image())
    shutil.copytree(stored.sample_dir("f" * 16, PROBLEM), stored.sample_dir("e" * 16, PROBLEM))
    assert stored.read("e" * 16, PROBLEM) is None


def test_another_format_is_refused_in_words(stored: Store) -> None:
    path = stored.sample_dir(HASH, PROBLEM) / "record.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(
        StoreError, match=r"written in format 3, and this version reads 2; set paths\.results"
    ):
        stored.read(HASH, PROBLEM)


def test_metric_values_that_changed_places_are_not_read(store: Store) -> None:
    store.write_metric("m", "a", [1.0])
    store.write_metric("m", "b", [2.0])
    folder = store.root / "metrics" / "m"
    os.replace(folder / "a.json", folder / "b.json")
    assert store.read_metric("m", "b") is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "image byte": lambda folder: flip(folder / "sample.png"),
    "latent byte": lambda folder: flip(folder / "latents.safetensors"),
    "image lost": lambda folder: (folder / "sample.png").unlink(),
    "record lost": lambda folder: (folder / "record.json").unlink(),
    "record empty": lambda folder: (folder / "record.json").write_bytes(b""),
    "record cut": lambda folder: (folder / "record.json").write_bytes(
        (folder / "record.json").read_bytes()[:-30]
    ),
    "record binary": lambda folder: (folder / "record.json").write_bytes(b"\xff\xfe\x00"),
    "record another kind": lambda folder: (folder / "record.json").write_text("[1, 2]"),
    "record without fields": lambda folder: (folder / "record.json").write_text(
        '{"record": {}, "sha256": ""}'
    ),
    "cost changed": lambda folder: (folder / "record.json").write_text(
        (folder / "record.json").read_text().replace('"nfe_fwd": 12', '"nfe_fwd": 13')
    ),
    "status changed": lambda folder: (folder / "record.json").write_text(
        (folder / "record.json").read_text().replace('"status": "ok"', '"status": "failed"')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sample_is_set_aside_and_can_be_redone(stored: Store, damage: str) -> None:
    folder = stored.sample_dir(HASH, PROBLEM)
    good = (folder / "sample.png").read_bytes()
    DAMAGES[damage](folder)
    assert stored.read(HASH, PROBLEM) is None
    assert folder.exists()  # reading changes nothing
    stored.set_damaged_aside(HASH, PROBLEM)
    assert not folder.exists()
    (aside,) = (stored.root / "quarantine").iterdir()
    assert folder.name in aside.name
    stored.write(HASH, CONFIG, PROBLEM, record(), image())
    assert stored.read(HASH, PROBLEM) is not None and (folder / "sample.png").read_bytes() == good


def test_the_same_sample_may_be_damaged_twice(stored: Store) -> None:
    for _ in range(2):
        flip(stored.sample_dir(HASH, PROBLEM) / "sample.png")
        assert stored.read(HASH, PROBLEM) is None
        stored.set_damaged_aside(HASH, PROBLEM)
        stored.write(HASH, CONFIG, PROBLEM, record(), image())
    assert len(list((stored.root / "quarantine").iterdir())) == 2


def test_a_half_written_draft_is_no_sample(store: Store) -> None:
    folder = store.sample_dir(HASH, PROBLEM)
    draft = folder.parent / ".draft-0000"
    draft.mkdir(parents=True)
    (draft / "sample.png").write_bytes(b"half")
    assert store.read(HASH, PROBLEM) is None
    store.write(HASH, CONFIG, PROBLEM, record(), image())
    assert store.read(HASH, PROBLEM) is not None


def test_a_write_that_fails_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        store.write(HASH, CONFIG, PROBLEM, record(), image())
    folder = store.sample_dir(HASH, PROBLEM)
    assert not folder.exists() and not list(folder.parent.glob(".draft-*"))


@pytest.mark.parametrize(
    "case_id", ["", "..", ".hidden", "a/b", "a\\b", "A red circle", "a b", "ä", "x" * 82, "a\n"]
)
def test_case_ids_that_are_no_plain_names_are_refused(store: Store, case_id: str) -> None:
    with pytest.raises(StoreError, match="case id"):
        store.sample_dir(HASH, TextToImage(case_id, 0, "a red circle", "Colors"))


def test_the_prompt_is_in_no_path(stored: Store) -> None:
    assert not [p for p in stored.root.rglob("*") if "circle" in str(p.relative_to(stored.root))]


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metric_values_survive_bit_for_bit(store: Store) -> None:
    values = [0.1, 1 / 3, 1e-300, 31.4159265358979]
    store.write_metric("m", "b", values)
    assert store.read_metric("m", "b") == values
    assert store.read_metric("m", "c") is None and store.read_metric("n", "b") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"values": [1.0]}', b'{"values": [1.0], "sha256": "0"}', b"\xff"]
)
def test_damaged_metric_values_are_missing_and_can_be_rewritten(store: Store, content: bytes) -> None:
    store.write_metric("m", "b", [1.0])
    (path,) = (store.root / "metrics").rglob("*.json")
    path.write_bytes(content)
    assert store.read_metric("m", "b") is None
    store.write_metric("m", "b", [2.0])
    assert store.read_metric("m", "b") == [2.0]


# -- claims ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_held_by_one(store: Store) -> None:
    with (
        store.claim(HASH, "batch", wait=False) as first,
        store.claim(HASH, "batch", wait=False) as second,
        store.claim(HASH, "other", wait=False) as other,
    ):
        assert (first, second, other) == (True, False, True)
    with store.claim(HASH, "batch", wait=False) as again:
        assert again


def test_a_claim_ends_with_an_error(store: Store) -> None:
    with pytest.raises(RuntimeError), store.claim(HASH, "batch", wait=False):
        raise RuntimeError
    with store.claim(HASH, "batch", wait=False) as again:
        assert again


def _hold(root: Path, held: "multiprocessing.synchronize.Event") -> None:
    with Store(root).claim(HASH, "batch", wait=False) as ours:
        assert ours
        held.set()
        time.sleep(600)


def test_a_claim_ends_with_its_process_however_it_ends(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=_hold, args=(store.root, held))
    holder.start()
    assert held.wait(60)
    with store.claim(HASH, "batch", wait=False) as ours:
        assert not ours
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with store.claim(HASH, "batch", wait=False) as ours:
        assert ours


def test_a_waiting_claim_gets_the_batch_when_its_holder_dies(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=_hold, args=(store.root, held))
    holder.start()
    assert held.wait(60) and holder.pid is not None
    killer = context.Process(target=lambda: (time.sleep(0.5), os.kill(holder.pid, signal.SIGKILL)))  # type: ignore[arg-type]
    killer.start()
    start = time.monotonic()
    with store.claim(HASH, "batch", wait=True) as ours:
        assert ours and time.monotonic() - start > 0.2
    killer.join()
    holder.join()


def test_a_holder_that_is_frozen_is_told_while_others_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("guidebench.runner.store._PATIENCE", 0.2)
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=_hold, args=(store.root, held))
    holder.start()
    assert held.wait(60) and holder.pid is not None
    os.kill(holder.pid, signal.SIGSTOP)
    killer = context.Process(target=lambda: (time.sleep(1), os.kill(holder.pid, signal.SIGKILL)))  # type: ignore[arg-type]
    killer.start()
    with store.claim(HASH, "batch", wait=True) as ours:
        assert ours
    assert f"by process {holder.pid} on " in caplog.text
    killer.join()
    holder.join()


def test_what_stands_in_the_place_of_a_lock_or_of_the_quarantine_is_told(stored: Store) -> None:
    (stored.root / "locks" / HASH / "batch.lock").mkdir(parents=True)
    with (
        pytest.raises(StoreError, match=r"batch\.lock: cannot be made or opened"),
        stored.claim(HASH, "batch", False),
    ):
        pass
    (stored.root / "quarantine").write_text("a file")
    flip(stored.sample_dir(HASH, PROBLEM) / "sample.png")
    with pytest.raises(StoreError, match=r"damaged, and cannot be moved to .*quarantine"):
        stored.set_damaged_aside(HASH, PROBLEM)


def test_a_record_nested_too_deep_is_damage(stored: Store, caplog: pytest.LogCaptureFixture) -> None:
    (stored.sample_dir(HASH, PROBLEM) / "record.json").write_text("[" * 100_000 + "]" * 100_000)
    assert (
        stored.read(HASH, PROBLEM) is None and "is damaged (record.json is no sealed record)" in caplog.text
    )
