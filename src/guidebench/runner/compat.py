"""Which choices go together. Each rule is one function; each refusal says what to change."""

from collections.abc import Callable
from typing import Any

from guidebench.errors import ConfigError
from guidebench.gradients.base import GradientStrategy
from guidebench.methods.base import Method
from guidebench.runner.build import Job
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


def _reversible_gradient_needs_reversible_sampler(job: Job) -> None:
    method: Method = job.build("method")
    gradient: GradientStrategy = job.build("gradient")
    sampler: Sampler = job.build("sampler")
    if method.needs_gradient and gradient.needs_reversible and not sampler.is_reversible:
        raise ConfigError(
            f"gradient: {_name(gradient)} recomputes states by running the sampler backwards, and sampler: "
            f"{_name(sampler)} is not reversible; choose sampler=edict, or gradient=checkpointed"
        )


def _gradient_needs_deterministic_sampler(job: Job) -> None:
    method: Method = job.build("method")
    sampler: Sampler = job.build("sampler")
    if method.needs_gradient and sampler.is_stochastic:
        raise ConfigError(
            f"sampler: {_name(sampler)} draws noise at every step, and method: {_name(method)} optimises x_T of one "
            "deterministic chain; choose sampler=edict, or sampler=ddim with sampler.eta=0"
        )


def _method_handles_dataset(job: Job) -> None:
    method: Method = job.build("method")
    dataset = job.build("dataset")
    if not set(dataset.handles) <= set(method.handles):
        raise ConfigError(
            f"method: {_name(method)} handles {', '.join(method.handles)}, and dataset: {_name(dataset)} holds "
            f"{', '.join(dataset.handles)} problems"
        )


_RULES: tuple[Callable[[Job], None], ...] = (
    _method_handles_dataset,
    _reversible_gradient_needs_reversible_sampler,
    _gradient_needs_deterministic_sampler,
)


def shared_networks(job: Job) -> list[str]:
    """Names of metrics that share a network with the guiding loss.

    Raises:
        ConfigError: there are some and `allow_shared_networks` is false. The unguided baseline of the same
            comparison is refused too: its score would stand beside the others'.
    """
    guiding = set(job.build("loss").networks)
    shared = [name for name, metric in job.metrics().items() if guiding & set(metric.networks)]
    if shared and not job.config["allow_shared_networks"]:
        raise ConfigError(
            f"metrics.{shared[0]}: scores with the network that guides ({', '.join(sorted(guiding))}), so it would "
            "reward what the loss optimised; choose another network (score_clip=...), or set "
            "allow_shared_networks=true, and tables will mark it"
        )
    return shared


def _name(component: Any) -> str:
    return type(component).__name__
