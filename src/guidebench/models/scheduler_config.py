"""The noise schedule that a diffusers checkpoint was trained with, from its scheduler's configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidebench.diffusion.prediction import Parameterisation
from guidebench.diffusion.schedules import Linear, NoiseSchedule, ScaledLinear, Table, TableSchedule
from guidebench.errors import WeightsError

PARAMETERISATIONS: dict[str, Parameterisation] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""What diffusers calls what a network predicts."""

_DEFAULTS = {
    "prediction_type": "epsilon",
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
}  # of older configurations
_NEEDED = ("beta_schedule", "beta_start", "beta_end")
_COMPARED = (*_NEEDED, *_DEFAULTS)
_TABLES: dict[str, type[ScaledLinear] | type[Linear]] = {"scaled_linear": ScaledLinear, "linear": Linear}


def completed(config: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """The configuration with what older ones leave out.

    Raises:
        WeightsError: it does not define a noise schedule.
    """
    config = {**_DEFAULTS, **config}
    if config["prediction_type"] not in PARAMETERISATIONS:
        raise WeightsError(
            f"{source}: prediction_type {config['prediction_type']!r}; allowed: {', '.join(PARAMETERISATIONS)}"
        )
    missing = [key for key in _NEEDED if key not in config and config["trained_betas"] is None]
    if missing:
        raise WeightsError(f"{source} lacks {', '.join(missing)}, which define the noise schedule")
    return config


def read(path: Path) -> Mapping[str, Any]:
    """The completed configuration in a `scheduler_config.json`.

    Raises:
        WeightsError: it is missing, or does not define a noise schedule.
    """
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is missing or is not the JSON file of a scheduler: {error}") from error
    return completed(config, str(path))


def compare(configured: Mapping[str, Any], found: Mapping[str, Any], source: str) -> None:
    """See that a checkpoint was trained with the configured schedule.

    Raises:
        WeightsError: it was trained with another.
    """
    for key in _COMPARED:
        if configured.get(key) != found.get(key):
            raise WeightsError(
                f"model.architecture.scheduler.{key}: {configured.get(key)!r} is configured, and {source!r} was "
                f"trained with {found.get(key)!r}; set it to that"
            )


def schedule(config: Mapping[str, Any], source: str) -> NoiseSchedule:
    """The schedule of a completed configuration: its table of betas, and its end without signal where it has one.

    References: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024, Algorithm 1.

    Raises:
        WeightsError: the table is of an unknown kind, or its length is not the number of steps.
    """
    n, betas = config["num_train_timesteps"], config["trained_betas"]
    if betas is not None:
        if len(betas) != n:
            raise WeightsError(f"{source}: {len(betas)} trained_betas for {n} num_train_timesteps")
        table: TableSchedule = Table(n, tuple(float(beta) for beta in betas))
    elif config["beta_schedule"] in _TABLES:
        table = _TABLES[config["beta_schedule"]](n, config["beta_start"], config["beta_end"])
    else:
        raise WeightsError(
            f"model.source: {source!r} has beta_schedule {config['beta_schedule']!r}; allowed: {', '.join(_TABLES)}"
        )
    return Table(n, _without_signal_at_the_end(table)) if config["rescale_betas_zero_snr"] else table


def _without_signal_at_the_end(table: TableSchedule) -> tuple[float, ...]:
    """Betas of the table with sqrt(alpha_bar) shifted to end at 0 and scaled to begin where it began."""
    root: NDArray[np.float64] = np.sqrt(table.alphas_cumprod)
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    squared = np.square(root)
    return tuple((1 - squared / np.concatenate([[1.0], squared[:-1]])).tolist())
