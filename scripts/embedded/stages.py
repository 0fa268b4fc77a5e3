"""Training in stages: each stage on its own mixture of worlds; what was trained before an interruption is kept."""

import time
from collections.abc import Callable
from dataclasses import fields

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import nn

from embedded.data import CHECKPOINTS, DEVICE
from guidebench.artefacts.trainer import Loss, Trainer, Training
from guidebench.runner.drafts import Draft

SECONDS = 120.0
"""Between saves of an unfinished stage."""

_LOG_SECONDS = 15.0


def train_in_stages(
    name: str,
    model: nn.Module,
    config: DictConfig,
    loss_of: Callable[[DictConfig], Loss],
    export: Callable[[nn.Module], None],
) -> nn.Module:
    """Train a model through the stages of its configuration.

    Args:
        name: of the model; names its checkpoints: of a finished stage the weights, of an unfinished one a draft.
        model: what is trained; moved to the device.
        config: `stages` is a list; each stage's keys are laid over the rest of the configuration. `Training`'s are
            read here, and `export_every`.
        loss_of: makes the loss of a stage.
        export: writes a model.

    Returns:
        The trained model.
    """
    model = model.to(DEVICE)
    for stage in config.stages:
        settings = OmegaConf.merge(config, stage)
        assert isinstance(settings, DictConfig)
        finished = CHECKPOINTS / f"{name}-{stage.name}.safetensors"
        if not finished.exists():
            best = _train(f"{name}-{stage.name}", model, settings, loss_of, export)
            finished.parent.mkdir(parents=True, exist_ok=True)
            partial = finished.with_suffix(".partial")
            save_file({key: tensor.clone() for key, tensor in best.state_dict().items()}, partial)
            partial.replace(finished)
        model.load_state_dict(load_file(finished))
    export(model)
    return model.eval()


def _train(
    name: str,
    model: nn.Module,
    settings: DictConfig,
    loss_of: Callable[[DictConfig], Loss],
    export: Callable[[nn.Module], None],
) -> nn.Module:
    """Train one stage; returns the averaged model where there is one."""
    known = {field.name for field in fields(Training)}
    training = Training(**{str(key): value for key, value in settings.items() if key in known})
    trainer = Trainer(model, training)
    draft = Draft(CHECKPOINTS / name / "state.safetensors", name, SECONDS, CHECKPOINTS / "quarantine")
    if _read_older(name, trainer, draft):
        return trainer.best
    loss = loss_of(settings)
    first: int | None = None
    begin = logged = time.monotonic()
    mean = 0.0

    def told(step: int, value: float) -> None:
        nonlocal first, logged, mean
        if first is None:
            first = step - 1
            if first:
                print(f"{name}: resuming at step {first}", flush=True)
        mean += max(0.02, 1 / (step - first)) * (value - mean)
        now = time.monotonic()
        if now - logged > _LOG_SECONDS or step == training.steps:
            logged, per_step = now, (now - begin) / (step - first)
            print(
                f"{time.strftime('%H:%M:%S')} {name} {step}/{training.steps} loss {mean:.4f} "
                f"{per_step * 1e3:.0f} ms/step, {per_step * (training.steps - step) / 60:.1f} min left",
                flush=True,
            )
        if settings.get("export_every") and step % settings.export_every == 0:
            export(trainer.best)

    trainer.run(loss, draft, told)
    draft.remove()
    return trainer.best


def _read_older(name: str, trainer: Trainer, draft: Draft) -> bool:
    """Go on from a checkpoint of the first version of these scripts; returns whether it had finished."""
    path = CHECKPOINTS / f"{name}.pt"
    if not path.exists():
        return False
    older = torch.load(path, map_location=DEVICE, weights_only=True)
    trainer.model.load_state_dict(older["model"])
    if trainer.ema is not None:
        trainer.ema.load_state_dict(older["ema"])
    if older["optimizer"] is None or older["step"] >= trainer.training.steps:
        return True
    trainer.optimizer.load_state_dict(older["optimizer"])
    losses = torch.full((trainer.training.steps,), torch.nan)
    draft.adopt(older["step"], trainer.tensors() | {"loss": losses})
    return False
