"""Where a job's results are reported beside the store. A logger never stops the science."""

import functools
import logging
import netrc
import os
import socket
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal
from urllib.parse import ParseResult, urlparse

import pandas as pd

_log = logging.getLogger(__name__)
_IMAGES = 64
_PATIENCE = 3.0
"""Seconds that a service is waited for."""


class Logger(ABC):
    """Reports jobs and tables."""

    @abstractmethod
    def log_job(
        self,
        run_id: str,
        name: str,
        config: dict[str, Any],
        records: pd.DataFrame,
        group: str,
        directory: Path,
    ) -> None:
        """Report a finished job.

        Args:
            run_id: identifies the job; reporting it again replaces the first report.
            name: short name of the job.
            config: the resolved configuration.
            records: the job's stored samples, one row each, as `runner.evaluate.evaluate` lays them out.
            group: names the sweep or table that the job belongs to.
            directory: for files of the logger's own.
        """

    @abstractmethod
    def log_table(self, html: str, group: str, directory: Path) -> None:
        """Report the finished table of a sweep, as a page."""


class NoLogger(Logger):
    """The store is enough."""

    def log_job(
        self,
        run_id: str,
        name: str,
        config: dict[str, Any],
        records: pd.DataFrame,
        group: str,
        directory: Path,
    ) -> None:
        """Nothing to do."""

    def log_table(self, html: str, group: str, directory: Path) -> None:
        """Nothing to do."""


class WandbLogger(Logger):
    """One Weights & Biases run per job, grouped by sweep: configuration, mean metrics, images, the table of samples.

    Args:
        project: name of the project there.
        mode: "online", "offline", or null: what WANDB_MODE says, else online where an account is logged in and the
            service answers, else offline. Offline runs lie in `<results>/runs/wandb`; `wandb sync` uploads them later.
    """

    def __init__(self, project: str = "guidebench", mode: Literal["online", "offline"] | None = None) -> None:
        self.project, self.mode = project, mode

    def log_job(
        self,
        run_id: str,
        name: str,
        config: dict[str, Any],
        records: pd.DataFrame,
        group: str,
        directory: Path,
    ) -> None:
        """See `Logger`."""
        try:
            import wandb

            numbers = records.select_dtypes("number").drop(columns="seed")
            summary = {f"mean/{column}": value for column, value in numbers.mean().items()}
            rows: list[Any] = [row for row in records.itertuples() if _picture(row)]
            content = {
                "images": [
                    wandb.Image(_picture(row), caption=f"{row.caption} (seed {row.seed})")
                    for row in rows[:_IMAGES]
                ],
                "samples": wandb.Table(dataframe=records.loc[:, records.dtypes != "object"]),
            }  # the table without files, configurations and features
            failures = int((records["status"] == "failed").sum())
            self._log(run_id, name, config, {**summary, "failures": failures}, content, group, directory)
        except Exception as error:  # whatever the service does, the samples are safe in the store
            _log.warning("logger=wandb: %s was not reported (%s: %s)", name, type(error).__name__, error)

    def log_table(self, html: str, group: str, directory: Path) -> None:
        """See `Logger`."""
        try:
            import wandb

            name = f"table-{group.replace('/', '-')}"
            self._log(name, name, {}, {}, {"table": wandb.Html(html)}, group, directory)
        except Exception as error:
            _log.warning("logger=wandb: the table was not reported (%s: %s)", type(error).__name__, error)

    def _log(
        self,
        run_id: str,
        name: str,
        config: dict[str, Any],
        summary: dict[str, Any],
        content: dict[str, Any],
        group: str,
        directory: Path,
    ) -> None:
        import wandb

        directory.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self.project,
            group=group,
            id=run_id,
            name=name,
            resume="allow",
            config=config,
            dir=str(directory),
            mode=_mode(self.mode),
            reinit="finish_previous",
            settings=wandb.Settings(init_timeout=30, silent=True, disable_git=True),
        )
        with run:
            run.summary.update(summary)
            run.log(content)


def _picture(row: Any) -> str:
    """The image file of a record; "" where its sample is none."""
    file = str(row.parts.get("sample", ""))
    return file if file.endswith(".png") else ""


def _mode(asked: Literal["online", "offline"] | None) -> Literal["online", "offline"] | None:
    """The mode of a run; None leaves it to WANDB_MODE. A service that does not answer is asked once per process."""
    if asked is None and os.environ.get("WANDB_MODE"):
        return None
    if asked == "offline" or (asked is None and not _has_account()):
        return "offline"
    return "online" if _answers(_service()) else "offline"


def _service() -> ParseResult:
    return urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))


@functools.cache
def _answers(service: ParseResult) -> bool:
    """Whether a connection can be made, within seconds."""
    port = service.port or (80 if service.scheme == "http" else 443)
    if urllib.request.getproxies().get(service.scheme):  # whoever is behind a proxy cannot be asked this way
        return True
    try:
        with socket.create_connection((service.hostname or "", port), timeout=_PATIENCE):
            return True
    except OSError as error:
        _log.warning(
            "logger=wandb: %s does not answer (%s); runs are kept offline, `wandb sync` uploads them later",
            service.hostname,
            error,
        )
        return False


def _has_account() -> bool:
    """Whether a key for the service is in the environment or in the user's netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(_service().hostname or "") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
