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

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Hydra's flags and overrides as they are; overrides are checked, with suggestions, before any job starts."""
    schema.register()
    overrides = [a for a in argv if "=" in a and not a.startswith("-")]
    if not any(
        a.startswith(("--hydra-help", "--info", "-sc", "--shell-completion", "--help", "-h")) for a in argv
    ):
        sweep = {"-m", "--multirun"} & set(argv)
        for job in expand(overrides) if sweep else [overrides]:
            compose_config([o for o in job if not o.startswith("hydra.")])
    sys.argv = ["guidebench run", *argv]
    hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(_job)()
    return 0


def _job(cfg: DictConfig) -> None:
    """One job: generate what is missing, evaluate, report. A failure leaves its traceback in the job's own log."""
    try:
        _run(cfg)
    except GuidebenchError as error:
        _log.error("%s", error)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other jobs
        sys.exit(2)
    except Exception:
        _log.exception("the job failed")
        raise


def _run(cfg: DictConfig) -> None:
    from guidebench.cli.progress import GenerationProgress
    from guidebench.runner.build import Job
    from guidebench.runner.evaluate import evaluate, frame
    from guidebench.runner.experiment import Experiment

    job = Job.from_config(cfg)
    experiment = Experiment(job)
    console = Console()
    missing = sum(len(batch.problems) for batch in experiment.missing())
    choice = HydraConfig.get().runtime.choices["method"]
    if missing:
        with GenerationProgress(console, [(missing, experiment.cost())]) as progress:
            progress.job(f"{choice} seed {job.config['seed']}", experiment.cost())
            experiment.run(progress.advance)
    records = frame(experiment, evaluate(experiment), method=choice)
    root = Path(job.config["paths"]["results"]) / "runs"
    job.build("logger").log_job(job.config, records, Path(HydraConfig.get().sweep.dir).name, root / "wandb")
    failed = int((records["status"] == "failed").sum())
    metrics = "".join(f", {name} {records[name].mean():.4g}" for name in job.config["metrics"])
    where = root / "samples" / experiment.config_hash
    console.print(
        f"{choice} seed {job.config['seed']}: {len(records)} samples, {failed} failed{metrics}; in {where}"
    )
