"""Artefacts of a job: which there are, by what recipe, and learning those that the store lacks.

runs/artefacts/<recipe hash>/config.json            the recipe
                             weights.safetensors
                             record.json            curves, seconds, environment, sha256 of the weights
"""

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from guidebench.artefacts.base import Artefact
from guidebench.errors import StoreError
from guidebench.models.base import DiffusionModel
from guidebench.runner.components import component_class
from guidebench.runner.drafts import Draft
from guidebench.runner.identity import digest, identity
from guidebench.runner.job import Job
from guidebench.runner.sealing import DamageError, sealed, sha256, sync, unsealed, write_atomically
from guidebench.runner.store import Store


@dataclass(frozen=True)
class Recipe:
    """How an artefact is learned.

    Args:
        artefact: the component.
        config: all that the result depends on; plain containers.
    """

    artefact: Artefact
    config: dict[str, Any]

    @property
    def hash(self) -> str:
        """Names its folder."""
        return digest(self.config)


@dataclass(frozen=True)
class ArtefactRecord:
    """What is known of something learned.

    Args:
        recipe_hash: of the recipe.
        sha256: of the file of weights.
        seconds: that learning took.
        history: curves by name.
        environment: versions and device that made it.
    """

    recipe_hash: str
    sha256: str
    seconds: float
    history: dict[str, list[float]]
    environment: dict[str, str]


def recipes(job: Job, model: DiffusionModel) -> dict[str, Recipe]:
    """The recipes of a job's artefacts, by their names among the method's parameters; nothing is loaded."""
    found = {}
    for name, node in _artefact_nodes(job.config["method"]):
        artefact: Artefact = job.build(f"method.{name}")
        config = {"artefact": identity(node), "model": identity(job.config["model"])}
        weights = {"artefact": artefact.fingerprint(), "model": model.fingerprint()}
        found[name] = Recipe(artefact, config | {"weights": weights})
    return found


def _artefact_nodes(node: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if not isinstance(value, dict):
            continue
        name = f"{within}{key}"
        if "_target_" in value and issubclass(component_class(value["_target_"], f"method.{name}"), Artefact):
            yield name, value
        else:
            yield from _artefact_nodes(value, f"{name}.")


def read_record(store: Store, recipe_hash: str) -> ArtefactRecord | None:
    """The record of something learned, or None where it is missing or damaged."""
    folder = _folder(store, recipe_hash)
    try:
        record = ArtefactRecord(**unsealed(folder / "record.json"))
        whole = sha256((folder / "weights.safetensors").read_bytes()) == record.sha256
    except (FileNotFoundError, DamageError, TypeError):
        return None
    return record if whole and record.recipe_hash == recipe_hash else None


def stored(store: Store) -> dict[str, ArtefactRecord]:
    """Everything learned that the store holds, by recipe hash; a folder's config.json tells which recipe."""
    folders = sorted((store.root / "artefacts").glob("[!.]*"))
    records = {folder.name: read_record(store, folder.name) for folder in folders}
    return {name: record for name, record in records.items() if record is not None}


def learned(
    store: Store, recipe: Recipe, model: DiffusionModel, environment: dict[str, str], every: float
) -> tuple[dict[str, Tensor], ArtefactRecord]:
    """The weights of an artefact on the model's device, learned now unless they are stored.

    Args:
        store: keeps them.
        recipe: of the artefact.
        model: loaded.
        environment: versions and device, for the record.
        every: seconds between saves of an unfinished loop.
    """
    record = read_record(store, recipe.hash)
    if record is None:
        with store.claim(recipe.hash, "artefact", wait=True):
            record = read_record(store, recipe.hash) or _learn(store, recipe, model, environment, every)
    weights = load((_folder(store, recipe.hash) / "weights.safetensors").read_bytes())
    return {name: tensor.to(model.device) for name, tensor in weights.items()}, record


def _learn(
    store: Store, recipe: Recipe, model: DiffusionModel, environment: dict[str, str], every: float
) -> ArtefactRecord:
    recipe.artefact.load(model.device)
    path = store.root / "drafts" / recipe.hash / "artefact" / "state.safetensors"
    draft = Draft(path, recipe.hash, every, store.root / "quarantine")
    begin = time.perf_counter()
    made = recipe.artefact.learn(model, draft)
    if not all(tensor.isfinite().all() for tensor in made.weights.values()):
        raise StoreError(
            f"{type(recipe.artefact).__name__}: what it learned is not finite, and is not kept; lower its learning rate"
        )
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in made.weights.items()})
    record = ArtefactRecord(
        recipe_hash=recipe.hash,
        sha256=sha256(weights),
        seconds=round(draft.spent + time.perf_counter() - begin, 2),
        history={name: curve.tolist() for name, curve in made.history.items()},
        environment=environment,
    )
    _write(store, recipe, weights, record)
    draft.remove()
    return record


def _write(store: Store, recipe: Recipe, weights: bytes, record: ArtefactRecord) -> None:
    """Put a whole folder in its place; what lies there is damaged and goes to quarantine."""
    folder = _folder(store, recipe.hash)
    draft = folder.with_name(f".draft-{uuid.uuid4().hex}")
    write_atomically(draft / "weights.safetensors", weights)
    write_atomically(draft / "config.json", json.dumps(recipe.config, indent=1, sort_keys=True) + "\n")
    write_atomically(draft / "record.json", sealed(asdict(record)))
    if folder.exists():
        aside = store.root / "quarantine" / f"artefact_{recipe.hash}_{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, aside)
    os.rename(draft, folder)
    sync(folder.parent)


def _folder(store: Store, recipe_hash: str) -> Path:
    return store.root / "artefacts" / recipe_hash
