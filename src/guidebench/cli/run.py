"""`guidebench run`: one composed job, or a multirun sweep, through Hydra's own main."""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from guidebench.errors import GuidebenchError
from guidebench.runner import schema
from guidebench.runner.compose import compose_config, expand, shipped
from guidebench.runner.job import Job

_log = logging.getLogger(__name__)


_HYDRA_KNOWS_BETTER = (
    "-h",
    "--help",
    "--hydra-help",
    "-i",
    "--info",
    "-cd",
    "-cn",
    "-cp",
    "--config-",
    "--experimental-",
)
"""Flags that ask for help, or that change where configurations come from: Hydra checks those overrides itself."""


def main(argv: list[str]) -> int:
    """Hydra's flags and overrides as they are; overrides are checked, with suggestions, before any job starts."""
    schema.register()
    overrides = [a for a in argv if not a.startswith("-") and ("=" in a or a.startswith("~"))]
    if not any(a.startswith((*_HYDRA_KNOWS_BETTER, "hydra/sweeper=")) for a in argv):
        sweep = {"-m", "--multirun"} & set(argv)
        for job in expand(overrides) if sweep else [overrides]:
            config = compose_config([o for o in job if not o.startswith("hydra.")])
            if not {"-c", "--cfg"} & set(argv):
                Job.from_config(config)
    sys.argv = ["guidebench run", *argv]
    hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(_job)()
    return 0


def _job(cfg: DictConfig) -> None:
    """One job: generate what is missing, evaluate, report. A failure leaves its traceback in the job's own log."""
    try:
        _run(cfg)
    except GuidebenchError as error:
        sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
        _log.error("%s", error, exc_info=sweeping)
        if sweeping:
            raise  # Hydra goes on with the other jobs
        sys.exit(2)
    except Exception:
        _log.exception("the job failed")
        raise


def _run(cfg: DictConfig) -> None:
    from guidebench.cli.progress import GenerationProgress
    from guidebench.runner.evaluate import check_problems, check_references, evaluate, summary
    from guidebench.runner.experiment import Experiment

    experiment = Experiment(Job.from_config(cfg))
    check_references(experiment.job)
    check_problems(experiment)
    config, console = experiment.job.config, Console()
    choice, seed = HydraConfig.get().runtime.choices["method"], config["seed"]
    missing, progress = experiment.missing(), GenerationProgress(console, choice)
    progress.starting([(sum(len(b.problems) for b in missing), experiment.cost())])
    try:
        progress.job(f"{choice} seed {seed}", experiment.cost())
        left = experiment.run(missing, progress.advance, wait=False)
        experiment.run(left, progress.advance, wait=True)
    finally:
        progress.done()
    records = evaluate(experiment, method=choice)
    logger, root = experiment.job.build("logger"), Path(config["paths"]["results"]) / "runs"
    group = Path(HydraConfig.get().sweep.dir).name
    logger.log_job(
        f"{experiment.config_hash}-s{seed}", f"{choice}-s{seed}", config, records, group, root / "wandb"
    )
    failed = int((records["status"] == "failed").sum())
    metrics = "".join(f", {name} {value:.4g}" for name, value in summary(experiment, records).items())
    where = root / "samples" / experiment.config_hash
    console.print(f"{choice} seed {seed}: {len(records)} samples, {failed} failed{metrics}; in {where}")
