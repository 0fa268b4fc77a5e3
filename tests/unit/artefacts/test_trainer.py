"""The trainer against torch's own optimiser written out, and against itself interrupted."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from guidebench.artefacts.trainer import Trainer, Training
from guidebench.diffusion.random import generator
from guidebench.progress import Progress
from guidebench.runner.drafts import Draft

STEPS = 12


class KilledError(Exception):
    pass


def network() -> nn.Module:
    """With weights, biases, gains and buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 1))


def loss_of(model: nn.Module, kill_at: int = -1):
    calls = iter(range(10**9))

    def loss(draws: torch.Generator) -> Tensor:
        if next(calls) == kill_at:
            raise KilledError
        x = torch.randn(16, 3, generator=draws)
        return (model(x) - x.sum(1, keepdim=True).sin()).square().mean()

    return loss


TRAININGS = [
    Training(STEPS, lr=1e-2, warmup=4, ema=0.9, precision="float32"),
    Training(
        STEPS, lr=1e-2, seed=3, schedule="constant", beta2=0.999, weight_decay=0.1, precision="bfloat16"
    ),
]


def draft(folder: Path) -> Draft:
    return Draft(folder / "training" / "state.safetensors", "work", 0.0, folder / "quarantine")


@pytest.mark.parametrize("training", TRAININGS)
def test_against_torch_written_out(training: Training) -> None:
    ours, theirs = network(), network()
    trainer = Trainer(ours, training)
    losses = trainer.run(loss_of(ours), Progress())
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=training.lr,
        betas=(0.9, training.beta2),
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.02 * training.lr)
    average = copy.deepcopy(theirs).eval()
    expected = []
    for k in range(STEPS):
        rate = cosine._get_closed_form_lr()[0] if training.schedule == "cosine" else training.lr
        for group in optimizer.param_groups:
            group["lr"] = min(1.0, (k + 1) / training.warmup) * rate
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bfloat16"):
            value = loss_of(theirs)(generator(training.seed, "training", f"batch@{k}"))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        cosine.last_epoch += 1
        expected.append(value.item())
        if training.ema:
            d = min(training.ema, (1 + k) / (10 + k))
            for mean, new in zip(average.parameters(), theirs.parameters(), strict=True):
                mean.data = d * mean.data + (1 - d) * new.data
    torch.testing.assert_close(losses, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    best = average if training.ema else theirs
    for mine, reference in zip(trainer.best.parameters(), best.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("at", range(STEPS))
def test_killed_at_any_step_it_ends_with_the_same_bits(tmp_path: Path, at: int, training: Training) -> None:
    whole, model = Trainer(network(), training), network()
    losses = whole.run(loss_of(whole.model), Progress())
    with pytest.raises(KilledError):
        Trainer(model, training).run(loss_of(model, at), draft(tmp_path))
    resumed = Trainer(network(), training)
    taken: list[int] = []
    again = resumed.run(loss_of(resumed.model), draft(tmp_path), lambda step, value: taken.append(step))
    assert torch.equal(again, losses) and taken[0] == at + 1
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name


def test_a_training_whose_steps_were_all_taken_is_as_it_ended(tmp_path: Path) -> None:
    longer, shorter = TRAININGS[1], Training(**(vars(TRAININGS[1]) | {"steps": 8}))
    model = network()
    with pytest.raises(KilledError):
        Trainer(model, longer).run(loss_of(model, 8), draft(tmp_path))
    ended = Trainer(network(), shorter)
    ended.run(loss_of(ended.model, 0), draft(tmp_path))  # would raise if it took a step
    for mine, reference in zip(ended.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, reference)
    more = Trainer(network(), Training(**(vars(longer) | {"steps": 20})))
    assert more.run(loss_of(more.model), draft(tmp_path)).isfinite().all()


def test_frozen_parameters_stay() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    Trainer(model, TRAININGS[0]).run(loss_of(model), Progress())
    assert torch.equal(model[0].weight, before) and not torch.equal(model[3].weight, network()[3].weight)
