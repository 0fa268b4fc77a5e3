"""The library under the commands: load a model, guide it with any differentiable function, make a table.

import guidebench as gb

model = gb.model("embedded_pixels")
result = gb.sample(model, loss=lambda images: (images - images.flip(-1)).square().sum((1, 2, 3)), n=8)
result.images, result.cost, result.history
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from guidebench.devices import device as device_named
from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.losses.base import Loss
from guidebench.losses.function import FunctionLoss
from guidebench.methods.base import Generation, Method, Setup
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.dps import DPS
from guidebench.models.base import DiffusionModel
from guidebench.models.pipeline import PipelineModel
from guidebench.problems import Problem, TextToImage
from guidebench.report.layout import Table
from guidebench.report.render.csv import to_csv
from guidebench.report.render.markdown import to_markdown
from guidebench.runner.compat import check_compatibility
from guidebench.runner.components import build, check
from guidebench.runner.compose import compose_config, quoted
from guidebench.runner.job import Job
from guidebench.runner.pipeline import make
from guidebench.samplers.base import Sampler
from guidebench.samplers.ddim import DDIM
from guidebench.samples import KINDS, Part

LossFunction = Callable[[Tensor], Tensor]
"""Samples (b, ...), images about [0, 1] -> one number each, (b,)."""


def model(source: Any, /, *, device: str = "auto", **parameters: Any) -> DiffusionModel:
    """A pretrained model, loaded and frozen.

    Args:
        source: a choice of `guidebench list model` by name, or a text-to-image pipeline of diffusers.
        device: "auto" takes a GPU where there is one.
        **parameters: of the choice's class, in place of those of its YAML (`dtype="bfloat16"`).

    Raises:
        ConfigError: there is no such choice, or a parameter does not fit.
        WeightsError: weights that are missing, damaged or unsafe, or a pipeline of other parts.
    """
    if isinstance(source, str):
        node: Any = OmegaConf.to_container(compose_config([f"model={quoted(source)}"]).model, resolve=True)
        node |= parameters
        check(node, "model")
        loaded: DiffusionModel = build(node, "model")
    elif parameters:
        raise ConfigError(f"model: got {', '.join(parameters)} beside a pipeline, which brings its own")
    else:
        loaded = PipelineModel(source)
    loaded.load(device_named(device))
    return loaded


@dataclass(frozen=True)
class Result:
    """Samples with what they took.

    Args:
        problems: what each sample was to solve.
        parts: what each sample is made of, by name; "sample" is the sample itself.
        cost: network rows per sample.
        history: curves of each sample by name, (n, steps).
        failures: why samples failed, by index; their values mean nothing.
    """

    problems: tuple[Problem, ...]
    parts: Mapping[str, Part]
    cost: Cost
    history: Mapping[str, Tensor] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)

    @property
    def samples(self) -> Any:
        """The samples, on the model's device: images (n, 3, H, W) in [0, 1], or motions (n, frames, d)."""
        return self.parts["sample"].values

    @property
    def images(self) -> Tensor:
        """The images, (n, 3, H, W) in [0, 1].

        Raises:
            ConfigError: the model makes none.
        """
        kind = self.parts["sample"].kind
        if kind != "image":
            raise ConfigError(f"images: the samples are of the kind {kind!r}; read `samples`")
        images: Tensor = self.samples
        return images

    def save(self, folder: str | Path) -> list[Path]:
        """Write every part of every sample, and `samples.json` with problems, costs, curves and failures.

        Args:
            folder: a new one, or one without such a file.

        Returns:
            The files.

        Raises:
            ConfigError: samples lie there already.
        """
        folder = Path(folder)
        index = folder / "samples.json"
        if index.exists():
            raise ConfigError(f"{index}: samples were saved there; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        entries, paths = [], []
        for row, problem in enumerate(self.problems):
            files = {}
            for name, part in self.parts.items() if row not in self.failures else ():
                stem = problem.case_id if name == "sample" else f"{problem.case_id}.{name}"
                path = folder / f"{stem}{KINDS[part.kind].suffix}"
                KINDS[part.kind].save(part.values[row], path)
                files[name] = path.name
                paths.append(path)
            entries.append(
                {
                    "problem": problem.record(),
                    "files": files,
                    "failure": self.failures.get(row, ""),
                    "history": {name: curve[row].tolist() for name, curve in self.history.items()},
                }
            )
        cost = {"nfe_fwd": self.cost.nfe_fwd, "nfe_bwd": self.cost.nfe_bwd}
        index.write_text(json.dumps({"cost": cost, "samples": entries}, indent=1) + "\n", encoding="utf-8")
        return [*paths, index]

    def _repr_png_(self) -> bytes | None:
        """The images side by side, as a notebook shows them."""
        if self.parts["sample"].kind != "image":
            return None
        rows = (self.images.float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        file = io.BytesIO()
        Image.fromarray(torch.cat(list(rows), dim=1).numpy()).save(file, "PNG")
        return file.getvalue()


def sample(
    model: Any,
    /,
    *,
    method: Method | None = None,
    loss: Loss | LossFunction | None = None,
    prompts: Sequence[str] | str = (),
    n: int = 1,
    seed: int = 0,
    sampler: Sampler | None = None,
    gradient: GradientStrategy | None = None,
    cfg_scale: float | None = None,
    batch_size: int = 8,
) -> Result:
    """Make samples. All randomness belongs to (seed, case): every method starts from the same noise.

    Args:
        model: of `model`, or a pipeline of diffusers where it is.
        method: how it is guided; `DPS()` with a loss, `Unguided()` without one.
        loss: what guides: one of ours, or any differentiable function of samples (b, ...) that gives (b,).
        prompts: what is asked for; none for models without prompts, or for unconditional samples.
        n: samples of each prompt.
        seed: of all randomness.
        sampler: `DDIM(n_steps=50)` without one.
        gradient: how methods that optimise through the whole chain (DOODL) differentiate; `Checkpointed()` without one.
        cfg_scale: weight of classifier-free guidance; 5 with prompts and 1 without.
        batch_size: samples at a time; smaller ones need less memory.

    Raises:
        ConfigError: choices that do not go together, in the words of the commands.
    """
    if not isinstance(model, DiffusionModel):
        device = str(getattr(model, "device", "auto"))
        model = globals()["model"](model, device=device)
    if n < 1 or batch_size < 1:
        raise ConfigError(f"n={n}, batch_size={batch_size}: allowed are numbers from 1")
    if loss is not None and not isinstance(loss, Loss):
        loss = FunctionLoss(loss, model.kind)
    method = method or (Unguided() if loss is None else DPS())
    if ("loss" in method.uses) != (loss is not None):
        raise ConfigError(
            f"method: {type(method).__name__} is guided by a loss; give loss=..."
            if loss is None
            else f"loss: {type(method).__name__} uses none; leave it out, or choose a method that does"
        )
    problems = _problems([prompts] if isinstance(prompts, str) else prompts, n, seed)
    if cfg_scale is None:
        cfg_scale = 5.0 if prompts else 1.0 if not model.conditioned_on else 0.0
    parts = {"loss": loss, "sampler": sampler or DDIM(n_steps=50), "gradient": gradient or Checkpointed()}
    used = {use: part for use, part in parts.items() if use in method.uses}
    check_compatibility(
        _Chosen({**parts, "model": model, "method": method, "dataset": _Given(problems)}, cfg_scale)
    )
    setup = Setup(model, cfg_scale=cfg_scale, **used)  # type: ignore[arg-type]
    if loss is not None:
        loss.load(model.device)
    starts = range(0, len(problems), batch_size)
    made = [method.generate(problems[start : start + batch_size], setup) for start in starts]
    return _joined(problems, made, starts)


def _problems(prompts: Sequence[str], n: int, seed: int) -> tuple[Problem, ...]:
    if not prompts:
        return tuple(Problem(f"sample-{i}", seed) for i in range(n))
    return tuple(
        TextToImage(f"prompt-{p}-{i}", seed, prompt, "") for p, prompt in enumerate(prompts) for i in range(n)
    )


def _joined(problems: tuple[Problem, ...], made: Sequence[Generation], starts: Sequence[int]) -> Result:
    parts = {
        name: Part(first.kind, _concatenated([generation.parts[name].values for generation in made]))
        for name, first in made[0].parts.items()
    }
    history = {name: torch.cat([generation.history[name] for generation in made]) for name in made[0].history}
    failures = {
        start + row: str(failure)
        for start, generation in zip(starts, made, strict=True)
        for row, failure in generation.failures.items()
    }
    return Result(problems, parts, made[0].cost, history, failures)


def _concatenated(values: Sequence[Any]) -> Any:
    return (
        torch.cat(list(values))
        if isinstance(values[0], Tensor)
        else [entry for part in values for entry in part]
    )


@dataclass(frozen=True)
class _Given:
    """Problems that were handed in, as the rules see a dataset."""

    problems: tuple[Problem, ...]

    @property
    def gives(self) -> tuple[str, ...]:
        return tuple(name for name in self.problems[0].record() if name not in ("case_id", "seed"))


class _Chosen(Job):
    """Components that are built already, for the rules of what goes together."""

    def __init__(self, parts: Mapping[str, Any], cfg_scale: float) -> None:
        super().__init__({"cfg_scale": cfg_scale, "allow_shared_networks": True, "metrics": {}})
        object.__setattr__(
            self, "_parts", {**parts, "loss": parts["loss"] or FunctionLoss(lambda x: x.flatten(1).sum(1))}
        )

    def build(self, path: str) -> Any:
        return self.__dict__["_parts"][path]


@dataclass(frozen=True)
class TableResult:
    """A table that was made.

    Args:
        table: the layout with its numbers.
        records: one row per sample.
        files: what was written.
        failed: names of jobs that failed.
    """

    table: Table
    records: pd.DataFrame
    files: tuple[Path, ...]
    failed: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per value and per comparison: `row`, `quantity`, `value`, `low`, `high`, `n`, `paper`, …"""
        return pd.read_csv(io.StringIO(to_csv(self.table)))

    @property
    def markdown(self) -> str:
        """The table as Markdown, which notebooks show."""
        return to_markdown(self.table)

    def _repr_markdown_(self) -> str:
        return self.markdown


def table(
    name: str,
    /,
    *overrides: str,
    suite: str | None = None,
    size: str | None = None,
    seeds: Sequence[int] | None = None,
    results: str | Path | None = None,
    run: bool = True,
) -> TableResult:
    """Make a table of `guidebench list table`: run what the store lacks, evaluate, tabulate.

    Args:
        name: `paper/name`.
        *overrides: further ones, as for `guidebench table`: `"rows=none,doodl"`, `"dataset.limit=2"`.
        suite: of networks; the table's own without one.
        size: number of steps and cases; "small" without one.
        seeds: of the cases; the size's own without them.
        results: folder of the store; `results` without one.
        run: generate and evaluate; otherwise only what is stored is tabulated.

    Raises:
        ConfigError: an override is wrong, or choices do not go together.
    """
    chosen = {
        "suite": suite,
        "size": size,
        "seed": None if seeds is None else f"[{','.join(map(str, seeds))}]",
        "paths.results": None if results is None else quoted(str(results)),
    }
    made = make(
        name, [*(f"{key}={value}" for key, value in chosen.items() if value is not None), *overrides], run=run
    )
    main = next(iter(made.tables.values()))
    return TableResult(main, made.records, made.paths, made.failed_jobs)
