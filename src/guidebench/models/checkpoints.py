"""Networks that are one module and one file of weights: found, checked key by key, loaded and frozen."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidebench.devices import exact_arithmetic
from guidebench.errors import WeightsError
from guidebench.models import downloads
from guidebench.models.pickles import load_inert
from guidebench.models.weights import digest, resolve

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Where the hyper-parameters and the weights of one network come from.

    Args:
        source: a directory with `config.json` (the module's arguments) and `model.safetensors`; or a `.safetensors`,
            `.pt` or (Lightning's) `.ckpt` file; or the https address of one, downloaded on first use into torch's hub
            folder and verified on every use. Paths are absolute, or relative to the package's weights.
        architecture: the module's arguments; None reads the directory's `config.json`.
        sha256: of the file, in hexadecimal, or how it begins; None accepts any file, and holds a downloaded one against
            what it was at its first use.
        random_weights: build `architecture` with random weights (seed 0); `source` is then only a name.
        within: key of `config.json` that holds the module's arguments, beside other things; None: they are all of it.
        prefix: of the module's keys in the file (keys of nested mappings are joined by dots); what has another is not
            loaded.
    """

    source: str
    architecture: Mapping[str, Any] | None = None
    sha256: str | None = None
    random_weights: bool = False
    within: str | None = None
    prefix: str = ""

    def fingerprint(self) -> str:
        """Identifies the weights by their bytes; downloads nothing where `sha256` is known.

        Raises:
            WeightsError: there are none, or they are not those of `sha256`.
        """
        if self.random_weights:
            return f"{self.source}, random weights, seed 0"
        if self._remote:
            return downloads.fingerprint(self.source, self.sha256)
        return digest(resolve(self.source))

    def build(
        self, module: Callable[..., nn.Module], dtype: torch.dtype, ignore: Sequence[str] = ()
    ) -> nn.Module:
        """The network on the CPU, frozen and in evaluation mode.

        Args:
            module: makes the network from the hyper-parameters.
            dtype: precision of its weights.
            ignore: prefixes of keys of the file that are not loaded.

        Raises:
            WeightsError: there are no weights, they are damaged or unsafe, or they do not fit the module.
        """
        exact_arithmetic()
        arguments = self.arguments()
        if self.random_weights:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = self._make(module, arguments)
                _wake(network)
        else:
            state = self.tensors(ignore)
            with torch.device("meta"):
                network = self._make(module, arguments)
            check_keys(self.source, state, network.state_dict())
            network.load_state_dict(state, assign=True)
        return network.to(dtype).eval().requires_grad_(False)

    def arguments(self) -> Mapping[str, Any]:
        """The module's hyper-parameters; reads no weights."""
        if self.architecture is not None:
            return self.architecture
        if self.random_weights or self._remote or not resolve(self.source).is_dir():
            raise WeightsError(
                f"{self.source}: no architecture is given. Give it for random weights and for a single file; only a "
                f"directory brings its own, in {_CONFIG}."
            )
        path = resolve(self.source) / _CONFIG
        try:
            config = dict(json.loads(path.read_text(encoding="utf-8")))
            return config if self.within is None else dict(config[self.within])
        except (OSError, ValueError, TypeError, KeyError) as error:
            where = "" if self.within is None else f" with the key {self.within!r}"
            raise WeightsError(
                f"{path} is missing or is not the JSON object of a network's arguments{where}: {error}"
            ) from error

    @property
    def _remote(self) -> bool:
        return self.source.startswith("https://")

    def _file(self) -> Path:
        if not self._remote:
            found = resolve(self.source)
            if found.is_dir() and not (found / _WEIGHTS).is_file():
                raise WeightsError(f"{found} has no {_WEIGHTS}.")
            file = found / _WEIGHTS if found.is_dir() else found
            if self.sha256 is not None:
                downloads.verify(file, self.sha256, self.source)
            return file
        return downloads.fetched(self.source, self.sha256)

    def tensors(self, ignore: Sequence[str] = ()) -> Mapping[str, Tensor]:
        """The file's tensors by key; those of nested mappings have their keys joined by dots.

        Args:
            ignore: prefixes of keys that are left out.

        Raises:
            WeightsError: there are none, or the file is damaged or unsafe.
        """
        path = self._file()
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                content: object = load_file(path)
            elif path.suffix == ".ckpt":
                content = load_inert(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load: pickle, zip and runtime errors of every kind
            raise WeightsError(
                f"{path} ({path.stat().st_size} bytes) cannot be read as a file of tensors: "
                f"{type(error).__name__}: {str(error).splitlines()[0]} Fetch it again; pickled objects are refused."
            ) from error
        state = {
            key.removeprefix(self.prefix): value
            for key, value in _flat(content)
            if key.startswith(self.prefix) and not key.startswith(tuple(ignore))
        }
        if not state and self.prefix:
            raise WeightsError(f"{path} has no tensor whose key starts with {self.prefix!r}.")
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise WeightsError(f"{path} holds no plain mapping of names to tensors.")
        return state

    def _make(self, module: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
        try:
            return module(**arguments)
        except TypeError as error:
            raise WeightsError(f"{self.source}: the architecture does not fit the module: {error}") from error


def check_keys(source: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """See that weights have every key of a module with its shape, and no other.

    Args:
        source: names the weights, for the message.
        found: the weights.
        expected: the module's.

    Raises:
        WeightsError: they do not fit.
    """
    faults = {
        "missing": expected.keys() - found.keys(),
        "unexpected": found.keys() - expected.keys(),
        "of another shape": {
            key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape
        },
    }
    words = [f"{len(keys)} {name} (such as {sorted(keys)[0]})" for name, keys in faults.items() if keys]
    if words:
        raise WeightsError(
            f"{source} does not fit its architecture. Tensors: {'; '.join(words)}. Is the architecture that of these "
            "weights?"
        )


def _flat(content: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings; of what is no mapping, one without a key."""
    if not isinstance(content, Mapping):
        yield prefix, content
        return
    for key, value in content.items():
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))


def _wake(network: nn.Module) -> None:
    """Small random numbers for weights that start at zero: a network that answers zero would measure nothing."""
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
