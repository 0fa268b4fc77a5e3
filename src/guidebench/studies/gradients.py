"""Gradients through a sampling chain by every strategy, side by side: what they cost and how true they are."""

import math
import warnings
from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor

from guidebench.gradients.base import ChainRun, GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.compare import Measured, Workload, measure, unit_of
from guidebench.models.base import DiffusionModel, Guided
from guidebench.samplers.base import Sampler, State, draw_noises

REPEATS = 3
"""Timed runs, of which the median counts."""

_DIGITS = 17.0
"""Correct digits where the gradient is the truth to the last bit."""


def workload_of(model: DiffusionModel, sampler: Sampler, cfg_scale: float, batch: int) -> Workload:
    """The squared distance of x_0 to a fixed random target, under classifier-free guidance with prompts by number.

    Args:
        model: loaded.
        sampler: of its chain.
        cfg_scale: guidance weight.
        batch: samples.
    """
    chain, cond = (
        sampler.chain(model.schedule),
        model.condition([f"a photograph, number {i}" for i in range(batch)]),
    )
    dtype = cond.dtype if cond.dtype == torch.float64 else torch.float32
    x_T = _noise((batch, *model.sample_shape), 0).to(model.device, dtype)
    target, generator = _noise(x_T.shape, 1).to(x_T), torch.Generator().manual_seed(2)

    def objective(final: State) -> Tensor:
        return 0.5 * (chain.output(final) - target).flatten(1).square().sum(1)

    def draw() -> Tensor:
        return torch.randn(x_T.shape, generator=generator, dtype=torch.float64).to(x_T)

    run = ChainRun(
        chain,
        Guided(model, cfg_scale),
        chain.init(model.schedule.prior_std * x_T),
        cond=cond.to(dtype),
        noises=draw_noises(chain, draw),
    )
    return Workload(run, objective, Guided.rows(cfg_scale))


def compared(
    strategies: Mapping[str, GradientStrategy],
    workload: Workload,
    precise: Workload,
    tell: Callable[[str], None],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Every strategy once counted and weighed, then timed, and held against the truth.

    Args:
        strategies: by the name of their row.
        workload: what they differentiate.
        precise: the same in float64: `Checkpointed` gives the truth.
        tell: told of what is being measured.

    Returns:
        One record per strategy that the chain allows, and why the chain refuses the others.
    """
    tell("the truth, in float64")
    truth, unit = precise.x_T_grad(Checkpointed()).double(), unit_of(workload)
    records, refused = [], {}
    for name, strategy in strategies.items():
        tell(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the row's own numbers tell
            found = measure(name, strategy, workload, truth, unit, repeats=REPEATS)
        if found.refused:
            refused[name] = found.refused.removeprefix("gradient: ")
        else:
            records.append({"row": name, "case_id": "chain", "seed": 0, "status": "ok"} | _numbers(found))
    columns = ["row", "case_id", "seed", "status"]
    return pd.DataFrame(records, columns=None if records else columns), refused


def _numbers(found: Measured) -> dict[str, float]:
    assert found.cost is not None and found.units is not None and found.seconds is not None
    assert found.overhead is not None and found.peak_bytes is not None
    assert found.cosine is not None and found.error is not None and found.length is not None
    return {
        "nfe_fwd": found.cost.nfe_fwd,
        "nfe_bwd": found.cost.nfe_bwd,
        "units": found.units,
        "seconds": found.seconds,
        "overhead": found.overhead,
        "peak_mb": found.peak_bytes / 1e6,
        "cosine": found.cosine,
        "digits": min(-math.log10(found.error), _DIGITS) if found.error > 0 else _DIGITS,
        "length": found.length,
    }


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
