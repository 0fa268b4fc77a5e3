"""Training a network: AdamW, warm-up and decay, an average of the weights, steps that can be interrupted."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from guidebench.diffusion.random import generator
from guidebench.progress import Progress

Loss = Callable[[torch.Generator], Tensor]
"""Draws a batch with the generator that it is given and returns a scalar."""

Told = Callable[[int, float], None]
"""Told after each step of the number of steps taken and of the last loss."""


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Args:
        steps: optimiser steps.
        lr: learning rate after the warm-up.
        warmup: steps of linear warm-up, at least 1.
        seed: of the batches.
        weight_decay: of weight matrices and kernels; biases and gains have none.
        beta2: AdamW's second decay; its first is 0.9.
        clip: bound of the gradient's norm.
        ema: decay d of the average of the weights, in step k min(d, (1 + k) / (10 + k)); null for none.
        schedule: "cosine" (to 2 % of `lr`), or "constant", for a training whose end is not known when it starts.
        precision: of the forward pass: "bfloat16" or "float32".
    """

    steps: int
    lr: float
    warmup: int = 1
    seed: int = 0
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0
    ema: float | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    precision: Literal["bfloat16", "float32"] = "bfloat16"

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        cosine = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.lr * min(1.0, (step + 1) / self.warmup) * (cosine if self.schedule == "cosine" else 1.0)


class Trainer:
    """Trains one network. The batch of step k is drawn from a generator that (seed, k) alone decides.

    Args:
        model: what is trained, on its device; parameters that want no gradient stay as they are.
        training: how.
    """

    def __init__(self, model: nn.Module, training: Training) -> None:
        self.model, self.training = model.train(), training
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": training.weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=training.lr,
            betas=(0.9, training.beta2),
            fused=True,
        )
        for parameter in trained:  # as AdamW begins, but before the first step, so that a draft can name it
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.ema = copy.deepcopy(model).eval().requires_grad_(False) if training.ema else None

    @property
    def best(self) -> nn.Module:
        """The averaged model where there is one, else the model itself."""
        return self.ema if self.ema is not None else self.model

    def run(self, loss: Loss, progress: Progress, told: Told = lambda step, value: None) -> Tensor:
        """Train to the last step.

        Args:
            loss: of a batch.
            progress: hands out the steps.
            told: hears of each step.

        Returns:
            The losses, (steps,).
        """
        settings, own = self.training, self.tensors()
        device, dtype = next(self.model.parameters()).device, getattr(torch, settings.precision)
        state = own | {"loss": torch.full((settings.steps,), torch.nan, device=device)}
        for step in progress.steps(settings.steps, state):
            put_back(state, own)
            for group in self.optimizer.param_groups:
                group["lr"] = settings.rate(step)
            with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                value = loss(generator(settings.seed, "training", f"batch@{step}"))
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
            self.optimizer.step()
            self._update_ema(step)
            if step >= len(state["loss"]):  # more steps than when it was interrupted
                rest = torch.full((settings.steps - step,), torch.nan, device=device)
                state["loss"] = torch.cat([state["loss"], rest])
            state["loss"][step] = value.detach()
            told(step + 1, float(value.detach()))
        put_back(state, own)  # also where every step had been taken before
        return state["loss"].cpu()

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that training changes, by name: of the model, its average, and the optimiser."""
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.ema is not None:
            found |= {f"ema.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for group, settings in enumerate(self.optimizer.param_groups):
            for index, parameter in enumerate(settings["params"]):
                moments = self.optimizer.state[parameter]
                found |= {f"optimizer.{group}.{index}.{name}": moment for name, moment in moments.items()}
        return found

    def _update_ema(self, step: int) -> None:
        if self.ema is None or self.training.ema is None:
            return
        decay = min(self.training.ema, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1.0 - decay)
            for target, source in zip(self.ema.buffers(), self.model.buffers(), strict=True):
                target.copy_(source)


def put_back(state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Copy what a draft put into the state into the tensors that stand there otherwise."""
    with torch.no_grad():
        for name, tensor in own.items():
            if state[name] is not tensor:
                state[name] = tensor.copy_(state[name])
