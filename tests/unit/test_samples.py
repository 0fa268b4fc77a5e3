"""Parts of samples: what is written is read back, in files that others read too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import load_file

from guidebench.pixels import to_uint8
from guidebench.samples import KINDS, Mesh


def written(kind: str, value: Any, folder: Path) -> Path:
    path = folder / f"part{KINDS[kind].suffix}"  # type: ignore[index]
    KINDS[kind].save(value, path)  # type: ignore[index]
    return path


def test_images_and_frames_keep_their_eight_bits(tmp_path: Path) -> None:
    frames = torch.rand(5, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    path = written("image", frames[0], tmp_path)
    assert np.array_equal(np.asarray(Image.open(path)), to_uint8(frames[:1])[0])
    batch = KINDS["image"].batch([KINDS["image"].load(path)], "cpu")
    torch.testing.assert_close(batch, frames[:1], atol=0.5 / 255 + 1e-6, rtol=0)
    path = written("frames", frames, tmp_path)
    assert Image.open(path).size == (4, 5 * 6)
    loaded = KINDS["frames"].batch([KINDS["frames"].load(path)] * 2, "cpu")
    torch.testing.assert_close(loaded, torch.stack([frames, frames]), atol=0.5 / 255 + 1e-6, rtol=0)


def test_motions_and_tensors_are_exact(tmp_path: Path) -> None:
    motion = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    assert np.array_equal(np.load(written("motion", motion, tmp_path)), motion.numpy())
    named = {"x_T": torch.randn(2, 3), "token": torch.ones(4, dtype=torch.float64)}
    path = written("tensors", named, tmp_path)
    for loaded in (load_file(path), KINDS["tensors"].batch([KINDS["tensors"].load(path)], "cpu")[0]):
        assert loaded.keys() == named.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in named.items())


def test_a_mesh_is_read_by_others_right_side_out(tmp_path: Path) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=1)
    colors = np.random.default_rng(0).integers(0, 256, (len(sphere.vertices), 3), np.uint8)
    mesh = Mesh(np.asarray(sphere.vertices, np.float32), np.asarray(sphere.faces, np.int64), colors)
    path = written("mesh", mesh, tmp_path)
    others: Any = trimesh.load(path, force="mesh")
    assert others.is_watertight and others.volume == pytest.approx(sphere.volume, rel=1e-5)
    read = KINDS["mesh"].load(path)
    assert np.array_equal(read.vertices, mesh.vertices) and np.array_equal(read.faces, mesh.faces)
    assert np.array_equal(read.colors, colors)


def test_what_can_be_shown_has_a_picture(tmp_path: Path) -> None:
    walk = torch.linspace(0, 1, 10)[:, None].expand(10, 3)
    for kind, value in {
        "image": torch.ones(3, 4, 4),
        "frames": torch.ones(2, 3, 4, 4),
        "motion": walk,
    }.items():
        picture = KINDS[kind].thumbnail(written(kind, value, tmp_path))  # type: ignore[index]
        assert picture is not None and picture.mode == "RGB"
    assert KINDS["tensors"].thumbnail(written("tensors", torch.ones(2), tmp_path)) is None
