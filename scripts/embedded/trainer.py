"""A resumable training loop, in stages."""

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from embedded.data import CHECKPOINTS, DEVICE

Loss = Callable[[torch.Generator], Tensor]


def train_in_stages(
    name: str,
    model: nn.Module,
    config: DictConfig,
    loss_of: Callable[[DictConfig], Loss],
    export: Callable[[nn.Module], None],
    adapt: Callable[[DictConfig], nn.Module] | None = None,
) -> nn.Module:
    """Train a model through the stages of its configuration, each on its own mixture of worlds.

    Args:
        name: of the model; names its checkpoints.
        model: what is trained; moved to the device.
        config: `stages` is a list; each stage's keys are laid over the rest of the configuration.
        loss_of: makes the loss of a stage: draws a batch with the generator that it is given, returns a scalar.
        export: writes a model.
        adapt: called before each stage; returns what that stage trains, which may be a grown copy.

    Returns:
        The trained model.
    """
    for stage in config.stages:
        settings = OmegaConf.merge(config, stage)
        assert isinstance(settings, DictConfig)
        if adapt is not None:
            model = adapt(settings)
        trainer = Trainer(f"{name}-{stage.name}", model, settings)
        if trainer.step < trainer.steps:
            trainer.run(loss_of(settings), export)
        model.load_state_dict(trainer.best.state_dict())
    export(model)
    return model.eval()


class Trainer:
    """AdamW, warm-up then cosine decay (or none), an average of the weights, checkpoints by the clock.

    Args:
        name: of the checkpoint file.
        model: what is trained; moved to the device.
        config: `seed`, `steps`, `lr`, `warmup`; optional `weight_decay`, `ema`, `export_every`, `precision` (bfloat16),
            `schedule` ("cosine", or "constant" for a stage whose end is not known when it starts).
    """

    def __init__(self, name: str, model: nn.Module, config: DictConfig) -> None:
        self.name = name
        self.path = Path(CHECKPOINTS) / f"{name}.pt"
        self.model = model.to(DEVICE).train()
        self.steps, self.lr, self.warmup = int(config.steps), float(config.lr), int(config.warmup)
        self.constant = config.get("schedule", "cosine") == "constant"
        self.decay = config.get("ema")
        self.precision = getattr(torch, config.get("precision", "bfloat16"))
        self.export_every = int(config.get("export_every", 0))
        trained = list(model.parameters())
        weight_decay = float(config.get("weight_decay", 0.01))
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=self.lr,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False) if self.decay else None
        self.step, self.seconds = 0, 0.0
        self.generator = torch.Generator().manual_seed(int(config.seed))
        if self.path.exists():
            self._load()

    def run(self, loss: Loss, export: Callable[[nn.Module], None]) -> None:
        """Train to the last step.

        Args:
            loss: draws a batch with the generator it is given and returns a scalar.
            export: writes a model; called every `export_every` steps.
        """
        saved = logged = time.monotonic()
        mean = 0.0
        while self.step < self.steps:
            begin = time.monotonic()
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * self._rate()
            with torch.autocast(DEVICE.type, self.precision, enabled=self.precision is not torch.float32):
                value = loss(self.generator)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self._update_ema()
            self.step += 1
            mean += max(0.02, 1 / self.step) * (float(value.detach()) - mean)
            now = time.monotonic()
            self.seconds += now - begin
            if now - logged > 15 or self.step == self.steps:
                self._log(mean)
                logged = now
            if now - saved > 120 or self.step == self.steps:
                self._save()
                saved = now
            if self.export_every and self.step % self.export_every == 0:
                export(self.best)

    @property
    def best(self) -> nn.Module:
        """The averaged model where there is one, else the model itself."""
        return self.ema if self.ema is not None else self.model

    def _rate(self) -> float:
        """Learning rate as a fraction of the configured one."""
        if self.constant:
            return min(1.0, (self.step + 1) / self.warmup)
        decay = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * self.step / self.steps))
        return min(1.0, (self.step + 1) / self.warmup) * decay

    def _log(self, mean: float) -> None:
        per_step = self.seconds / self.step
        left = per_step * (self.steps - self.step) / 60
        print(
            f"{time.strftime('%H:%M:%S')} {self.name} {self.step}/{self.steps} loss {mean:.4f} "
            f"{per_step * 1e3:.0f} ms/step, {left:.1f} min left",
            flush=True,
        )

    def _update_ema(self) -> None:
        if self.ema is None:
            return
        decay = min(float(self.decay), (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1.0 - decay)
            for target, source in zip(self.ema.buffers(), self.model.buffers(), strict=True):
                target.copy_(source)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        partial = self.path.with_suffix(".partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        partial.replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=DEVICE, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        print(f"{self.name}: resuming at step {self.step}", flush=True)
