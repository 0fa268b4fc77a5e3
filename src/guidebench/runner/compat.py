"""Which choices go together. Each rule is one function; each refusal says what to change."""

from collections.abc import Callable, Sequence
from typing import Any

from guidebench.errors import ConfigError
from guidebench.gradients.base import GradientStrategy
from guidebench.methods.base import Method
from guidebench.models.base import DiffusionModel
from guidebench.models.readers.classifiers import Classifier
from guidebench.problems import Problem
from guidebench.runner.job import Job
from guidebench.samplers.base import Sampler


def check_compatibility(job: Job) -> list[str]:
    """Refuse combinations that cannot work or would not be fair.

    Returns:
        Names of metrics that share a network with the loss, allowed by `allow_shared_networks`; tables mark them.

    Raises:
        ConfigError: the first rule that is broken.
    """
    for rule in _RULES:
        rule(job)
    return shared_networks(job)


def check_classes(job: Job, problems: Sequence[Problem]) -> None:
    """Refuse classifiers that number or call the problems' classes otherwise, before anything is made.

    Raises:
        ConfigError: loss or metric whose classifier has other classes.
    """
    parts: dict[str, Any] = {f"metrics.{name}": metric for name, metric in job.metrics().items()}
    if "loss" in job.build("method").uses:
        parts["loss"] = job.build("loss")
    for where, part in parts.items():
        for reader in part.readers if "label" in part.reads else ():
            if isinstance(reader, Classifier):
                try:
                    reader.labels(problems)
                except ConfigError as error:
                    raise ConfigError(f"{where}: {error}") from error


def _reversible_gradient_needs_reversible_sampler(job: Job) -> None:
    method: Method = job.build("method")
    gradient: GradientStrategy = job.build("gradient")
    sampler: Sampler = job.build("sampler")
    if "gradient" in method.uses and gradient.needs_reversible and not sampler.is_reversible:
        raise ConfigError(
            f"gradient: {_name(gradient)} recomputes states by running the sampler backwards, and sampler: "
            f"{_name(sampler)} is not reversible; choose sampler=edict, or gradient=checkpointed"
        )


def _gradient_needs_deterministic_sampler(job: Job) -> None:
    method: Method = job.build("method")
    sampler: Sampler = job.build("sampler")
    if "gradient" in method.uses and sampler.is_stochastic and not method.keeps_noise:
        raise ConfigError(
            f"sampler: {_name(sampler)} draws noise at every step, and method: {_name(method)} optimises x_T of one "
            "deterministic chain; choose sampler=edict, or sampler=ddim with sampler.eta=0"
        )


def _the_dataset_gives_what_is_read(job: Job) -> None:
    method, dataset = job.build("method"), job.build("dataset")
    readers: dict[str, Any] = {"method": method}
    readers |= {"loss": job.build("loss")} if "loss" in method.uses else {}
    readers |= {f"metrics.{name}": metric for name, metric in job.metrics().items()}
    for where, reader in readers.items():
        lacking = [field for field in reader.reads if field not in dataset.gives]
        if lacking:
            raise ConfigError(
                f"{where}: {_name(reader)} reads {', '.join(lacking)}, and the problems of dataset: {_name(dataset)} "
                f"have {', '.join(dataset.gives)}; choose another, "
                + (f"or leave it out (~{where})" if where.startswith("metrics.") else "or another dataset")
            )


def _everything_judges_what_the_model_makes(job: Job) -> None:
    method, model = job.build("method"), job.build("model")
    if "loss" in method.uses and (loss := job.build("loss")).kind != model.kind:
        raise ConfigError(
            f"loss: {_name(loss)} judges samples of the kind {loss.kind!r}, and model: {_name(model)} makes "
            f"{model.kind!r}; choose another loss"
        )
    for name, metric in job.metrics().items():
        if metric.part == "sample" and metric.kind != model.kind:
            raise ConfigError(
                f"metrics.{name}: {_name(metric)} measures samples of the kind {metric.kind!r}, and model: "
                f"{_name(model)} makes {model.kind!r}; leave the metric out (~metrics.{name})"
            )


def _guidance_scale_needs_a_condition(job: Job) -> None:
    model: DiffusionModel = job.build("model")
    scale, dataset = job.config["cfg_scale"], job.build("dataset")
    if not model.conditioned_on and scale != 1:
        raise ConfigError(
            f"cfg_scale={scale:g}: model: {_name(model)} is unconditional, so there is nothing to amplify; set "
            "cfg_scale=1"
        )
    given = job.build("method").conditions or model.conditioned_on in dataset.gives
    if model.conditioned_on and not given and scale != 0:
        raise ConfigError(
            f"cfg_scale={scale:g}: model: {_name(model)} is conditioned on the {model.conditioned_on}, and the "
            f"problems of dataset: {_name(dataset)} have {', '.join(dataset.gives)}; set cfg_scale=0 to sample without "
            "condition, or choose another dataset"
        )


_RULES: tuple[Callable[[Job], None], ...] = (
    _the_dataset_gives_what_is_read,
    _everything_judges_what_the_model_makes,
    _guidance_scale_needs_a_condition,
    _reversible_gradient_needs_reversible_sampler,
    _gradient_needs_deterministic_sampler,
)


def shared_networks(job: Job) -> list[str]:
    """Names of metrics that share a network with the guiding loss.

    Raises:
        ConfigError: there are some and `allow_shared_networks` is false. The unguided baseline of the same
            comparison is refused too: its score would stand beside the others'.
    """
    guiding = {reader.network_id for reader in job.build("loss").readers}
    shared = [
        name
        for name, metric in job.metrics().items()
        if guiding & {reader.network_id for reader in metric.readers}
    ]
    if shared and not job.config["allow_shared_networks"]:
        raise ConfigError(
            f"metrics.{shared[0]}: scores with the network that guides ({', '.join(sorted(guiding))}), so it would "
            "reward what the loss optimised; choose another network (clip@networks.score_clip=...), or set "
            "allow_shared_networks=true, and tables will mark it"
        )
    return shared


def _name(component: Any) -> str:
    return type(component).__name__
