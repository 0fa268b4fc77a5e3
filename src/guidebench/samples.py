"""What a sample is made of: named parts, each of a kind that knows its file and its picture.

A method's output for one problem is a mapping such as {"sample": an image, "reconstruction": an image, "latents":
tensors}. The kind of a part says which file holds it, how it is read back, and how it is shown in a page.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file
from torch import Tensor

from guidebench.motion.animation import draw_motions
from guidebench.pixels import to_tensor, to_uint8

SampleKind = Literal["image", "frames", "motion", "tensors", "mesh"]
"""Images (b, 3, H, W) in [0, 1]; frames (b, f, 3, H, W) in [0, 1]; motions (b, frames, d); per sample a mapping of
tensors; per sample a `Mesh`."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with a colour per vertex.

    Args:
        vertices: (v, 3) float32, y upwards.
        faces: (f, 3) int64, indices of vertices, counter-clockwise from outside.
        colors: (v, 3) uint8, sRGB.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    colors: NDArray[np.uint8]


LATENTS = "latents"
"""The part that holds a sample in the model's space; stored where `save_latents` asks for it."""


class Part(NamedTuple):
    """One named part of a batch of samples.

    Attributes:
        kind: what it is.
        values: as `SampleKind` says, one entry per problem of the batch.
    """

    kind: SampleKind
    values: Any


class Kind(ABC):
    """How parts of one kind are kept."""

    suffix: str

    @abstractmethod
    def save(self, value: Any, path: Path) -> None:
        """Write one sample's value."""

    @abstractmethod
    def load(self, path: Path) -> Any:
        """Read what `save` wrote."""

    @abstractmethod
    def batch(self, values: Sequence[Any], device: torch.device | str) -> Any:
        """Loaded values as a metric sees them, on a device."""

    def thumbnail(self, path: Path) -> Image.Image | None:
        """A picture that stands for the part in a page; None where there is none."""
        return None


class _Image(Kind):
    """A picture, rounded to 8 bits."""

    suffix = ".png"

    def save(self, value: Tensor, path: Path) -> None:
        Image.fromarray(to_uint8(value[None])[0]).save(path, "PNG")

    def load(self, path: Path) -> NDArray[np.uint8]:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    def batch(self, values: Sequence[NDArray[np.uint8]], device: torch.device | str) -> Tensor:
        return to_tensor(values, device)

    def thumbnail(self, path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB")


class _Frames(Kind):
    """Pictures in a row, such as a turntable or an interpolation: one below the other in a PNG that says how many."""

    suffix = ".strip.png"

    def save(self, value: Tensor, path: Path) -> None:
        frames = to_uint8(value)
        note = PngInfo()
        note.add_text("frames", str(len(frames)))
        Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(path, "PNG", pnginfo=note)

    def load(self, path: Path) -> NDArray[np.uint8]:
        with Image.open(path) as image:
            strip = np.asarray(image.convert("RGB"))
            return strip.reshape(int(image.info["frames"]), -1, *strip.shape[1:])

    def batch(self, values: Sequence[NDArray[np.uint8]], device: torch.device | str) -> Tensor:
        return torch.stack([to_tensor(frames, device) for frames in values])

    def thumbnail(self, path: Path) -> Image.Image:
        return Image.fromarray(self.load(path)[0])


class _Motion(Kind):
    """Numbers of every frame, float32."""

    suffix = ".npy"

    def save(self, value: Tensor, path: Path) -> None:
        np.save(path, value.detach().float().cpu().numpy(), allow_pickle=False)

    def load(self, path: Path) -> NDArray[np.float32]:
        array: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return array

    def thumbnail(self, path: Path) -> Image.Image:
        return draw_motions(self.load(path)[None], [])[-1]

    def batch(self, values: Sequence[NDArray[np.float32]], device: torch.device | str) -> Tensor:
        return torch.from_numpy(np.stack(values)).to(device)


class _Tensors(Kind):
    """Tensors by name: latents, a field's parameters, a learned token."""

    suffix = ".safetensors"

    def save(self, value: Mapping[str, Tensor] | Tensor, path: Path) -> None:
        named = {"value": value} if isinstance(value, Tensor) else value
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}, path)

    def load(self, path: Path) -> dict[str, Tensor]:
        return load_file(path)

    def batch(
        self, values: Sequence[Mapping[str, Tensor]], device: torch.device | str
    ) -> list[dict[str, Tensor]]:
        return [{name: tensor.to(device) for name, tensor in value.items()} for value in values]


class _Mesh(Kind):
    """A mesh as binary glTF, which viewers and browsers read."""

    suffix = ".glb"

    def save(self, value: Mesh, path: Path) -> None:
        import trimesh

        opaque = np.concatenate([value.colors, np.full((len(value.colors), 1), 255, np.uint8)], axis=1)
        mesh = trimesh.Trimesh(value.vertices, value.faces, vertex_colors=opaque, process=False)
        mesh.export(path, file_type="glb")

    def load(self, path: Path) -> Mesh:
        import trimesh

        mesh: Any = trimesh.load(io.BytesIO(path.read_bytes()), file_type="glb", force="mesh", process=False)
        return Mesh(
            np.asarray(mesh.vertices, np.float32),
            np.asarray(mesh.faces, np.int64),
            np.asarray(mesh.visual.vertex_colors[:, :3], np.uint8),
        )

    def batch(self, values: Sequence[Mesh], device: torch.device | str) -> list[Mesh]:
        return list(values)


KINDS: dict[SampleKind, Kind] = {
    "image": _Image(),
    "frames": _Frames(),
    "motion": _Motion(),
    "tensors": _Tensors(),
    "mesh": _Mesh(),
}
"""Every kind of part by name."""
