"""Where a job's results are reported beside the store. A logger never stops the science."""

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from guidebench.errors import ConfigError

_log = logging.getLogger(__name__)
_IMAGES = 64


class Logger(ABC):
    """Reports one job at a time."""

    @abstractmethod
    def log_job(self, config: dict[str, Any], records: pd.DataFrame, group: str, directory: Path) -> None:
        """Report a finished job.

        Args:
            config: the resolved configuration.
            records: the job's stored samples, one row each, as `runner.evaluate.frame` lays them out.
            group: names the sweep or table that the job belongs to.
            directory: for files of the logger's own.
        """


class NoLogger(Logger):
    """The store is enough."""

    def log_job(self, config: dict[str, Any], records: pd.DataFrame, group: str, directory: Path) -> None:
        pass


class WandbLogger(Logger):
    """One Weights & Biases run per job, grouped by sweep: configuration, mean metrics, images, the table of samples.

    Args:
        project: name of the project there.
        mode: "online", "offline", or null: online where an account is logged in, else offline. Offline runs lie in
            `<results>/runs/wandb`; `wandb sync` uploads them later.
    """

    def __init__(self, project: str = "guidebench", mode: Literal["online", "offline"] | None = None) -> None:
        if mode not in (None, "online", "offline"):
            raise ConfigError(f"logger.mode={mode!r}; allowed: 'online', 'offline' or null")
        self.project, self.mode = project, mode

    def log_job(self, config: dict[str, Any], records: pd.DataFrame, group: str, directory: Path) -> None:
        try:
            self._log_job(config, records, group, directory)
        except Exception as error:  # whatever the service does, the samples are safe in the store
            _log.warning("logger=wandb: this job was not reported (%s: %s)", type(error).__name__, error)

    def _log_job(self, config: dict[str, Any], records: pd.DataFrame, group: str, directory: Path) -> None:
        import wandb

        directory.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self.project,
            group=group,
            config=config,
            dir=str(directory),
            mode=self.mode or ("online" if wandb.api.api_key else "offline"),
            reinit="finish_previous",
            settings=wandb.Settings(init_timeout=30, silent=True, disable_git=True),
        )
        with run:
            numbers = records.select_dtypes("number").drop(columns="seed")
            run.summary.update({f"mean/{name}": value for name, value in numbers.mean().items()})
            run.summary["failures"] = int((records["status"] == "failed").sum())
            shown = records[records["status"] == "ok"].head(_IMAGES)
            images = [
                wandb.Image(row.image, caption=f"{row.prompt} (seed {row.seed})")
                for row in shown.itertuples()
            ]
            run.log(
                {
                    "images": images,
                    "samples": wandb.Table(dataframe=records.drop(columns=["config", "image"])),
                }
            )
