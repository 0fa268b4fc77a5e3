"""`guidebench run`: one composed job, or a multirun sweep, through Hydra's own main."""

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from guidebench.cli.failures import log_folder, told
from guidebench.cli.printing import say
from guidebench.errors import GuidebenchError
from guidebench.runner import schema
from guidebench.runner.compose import compose_config, expand, parse, quoted, without_hydra
from guidebench.runner.folders import shipped
from guidebench.runner.job import Job
from guidebench.runner.mistakes import refuse_repeats

_log = logging.getLogger(__name__)

_IN_PROCESS = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def main(argv: list[str]) -> int:
    """Compose and check every job, then hand the line to Hydra.

    Returns:
        The exit status: 0 made, 1 jobs or too many samples failed, 2 refused.
    """
    schema.register()
    options, flags, overrides = _parsed(argv)
    with _frozen() as conf:
        if options.help or options.hydra_help or options.info:
            return _through_hydra(conf, [*flags, *overrides], [])
        refuse_repeats(parse(overrides))
        jobs = _jobs(overrides) if options.multirun else [overrides]
        configs = [compose_config(job, conf, hydra=True) for job in jobs]
        if options.cfg:
            return _through_hydra(conf, [*flags, *overrides], [])
        for config in configs:
            Job.from_config(without_hydra(config))
        statuses: list[int] = []
        first = configs[0]
        folders = _folders(first, overrides)
        if first.hydra.launcher._target_ != _IN_PROCESS:  # jobs run elsewhere, where the copy may not be
            return _through_hydra(shipped("conf"), [*flags, *overrides, *folders], None)
        _through_hydra(conf, [*flags, *overrides, *folders], statuses)
        return max(statuses, default=1)


def _parsed(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Hydra's options that are offered, as they are handed on, and the overrides."""
    parser = argparse.ArgumentParser(
        prog="guidebench run",
        add_help=False,
        allow_abbrev=False,
        usage="guidebench run [-m] [-c {job,hydra,all}] [-p PACKAGE] [--resolve] [-i [WHAT]] [-cd FOLDER] [-h] "
        "[key=value ...]",
    )
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-i", "--info", nargs="?", const="all", choices=_INFO)
    parser.add_argument("-cd", "--config-dir", type=Path, help="a folder with more choices")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args(argv)
    flags = [
        f"--{name.replace('_', '-')}"
        for name in ("help", "hydra_help", "multirun", "resolve")
        if getattr(options, name)
    ]
    for name in ("cfg", "package", "info"):
        if getattr(options, name):
            flags += [f"--{name}", getattr(options, name)]
    own = []
    if options.config_dir:
        if not options.config_dir.is_dir():
            parser.error(f"--config-dir {options.config_dir}: no such folder")
        own = [f"hydra.searchpath=[{quoted(f'file://{options.config_dir.resolve()}')}]"]
    return options, flags, [*options.overrides, *own]


@contextmanager
def _frozen() -> Iterator[Path]:
    """A copy of conf/: what is edited while jobs run reaches none of them."""
    with tempfile.TemporaryDirectory(prefix="guidebench-conf-") as folder:
        yield Path(shutil.copytree(shipped("conf"), Path(folder) / "conf"))


def _jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep; with a sweeper of a plugin, which chooses by itself, what they share."""
    if any(override.startswith("hydra/sweeper=") for override in overrides):
        return [[o.input_line or "" for o in parse(overrides) if not o.is_sweep_override()]]
    return expand(overrides)


def _folders(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Overrides that give this run a log folder of its own, unless the user says where."""
    if any(override.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for override in overrides):
        return []
    folder = quoted(str(log_folder(Path(config.paths.results))))
    return [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]


def _through_hydra(conf: Path, argv: Sequence[str], statuses: list[int] | None) -> int:
    """Hydra's main on these arguments.

    Args:
        conf: folder of the configurations.
        argv: options and overrides.
        statuses: told how each job ended; without it a job that fails raises, wherever it runs.
    """

    def job(cfg: DictConfig) -> None:
        status = _job(cfg)
        if statuses is not None:
            statuses.append(status)
        elif status:
            raise SystemExit(status)

    sys.argv = ["guidebench run", *argv]
    hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(job)()
    return 0


def _job(cfg: DictConfig) -> int:
    """One job, which fails alone: returns its exit status."""
    here = HydraConfig.get().runtime
    os.chdir(here.cwd)  # paths mean what they mean on the command line, whatever hydra.job.chdir says
    try:
        return _run(Job.from_config(cfg))
    except GuidebenchError as error:
        _log.error("%s", error)
        return 2
    except SystemExit as error:
        _log.error("the job called sys.exit(%r) and counts as failed", error.code)
        return 1
    except Exception as error:
        _log.error("%s", told(error, Path(here.output_dir)))
        return 1


def _run(job: Job) -> int:
    """Generate what is missing, evaluate, report."""
    from rich.console import Console

    from guidebench.cli.progress import GenerationProgress
    from guidebench.runner.evaluate import check_problems, check_references, evaluate, summary
    from guidebench.runner.experiment import Experiment
    from guidebench.runner.pipeline import FAILED_SHARE

    experiment = Experiment(job)
    check_references(job)
    check_problems(experiment)
    hydra_config = HydraConfig.get()
    name = f"{hydra_config.runtime.choices['method']} seed {job.seeds_text}"
    missing, progress = experiment.missing(), GenerationProgress(Console(stderr=True), name)
    progress.starting([(sum(len(b.problems) for b in missing), experiment.cost())])
    try:
        progress.job(name, experiment.cost())
        left = experiment.run(missing, progress.advance, wait=False)
        experiment.run(left, progress.advance, wait=True)
    finally:
        progress.done()
    records = evaluate(experiment, method=hydra_config.runtime.choices["method"])
    output, sweeping = Path(hydra_config.runtime.output_dir), hydra_config.mode == RunMode.MULTIRUN
    root = Path(job.config["paths"]["results"]) / "runs"
    group = (output.parent if sweeping else output).name
    job.build("logger").log_job(job.run_id, name, job.config, records, group, root / "wandb")
    failed = int((records["status"] == "failed").sum())
    metrics = "".join(f", {key} {value:.4g}" for key, value in summary(experiment, records).items())
    where = root / "samples" / experiment.config_hash
    say(f"{name}: {len(records)} samples, {failed} failed{metrics}; in {where}")
    return 1 if failed > FAILED_SHARE * len(records) else 0
