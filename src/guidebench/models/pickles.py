"""Tensors of checkpoints that also hold pickled objects, read without running what they ask for.

Lightning's `.ckpt` files name classes of their callbacks and of the program that wrote them, so that torch's safe
reader refuses them whole.
"""

import collections
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch

_SAFE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
"""All that a file may call: what tensors are rebuilt with."""


class Inert:
    """Stands for an object of any other class: takes what it is given and does nothing with it."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item of a pickled list."""

    def extend(self, items: object) -> None:
        """Take items of a pickled list."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _SAFE.get((module, name), Inert)


def load_inert(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU; objects other than tensors and plain containers are `Inert`."""

    def load(file: IO[bytes], **arguments: Any) -> Any:
        return _Unpickler(file, **arguments).load()

    reader = SimpleNamespace(Unpickler=_Unpickler, load=load, __name__="pickle")
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
