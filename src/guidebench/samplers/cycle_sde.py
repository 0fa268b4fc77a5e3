"""Cycle-SDE: the noise that makes a stochastic sampler pass through given states, and so reproduce a given x_0.

    path = noising_path(chain, x_0, draw)                          states at chain.times[0 … N-1], then x_0
    noises = record_noises(chain, eps_model, path, cond=cond)      N evaluations
    sample(chain, eps_model, (path[0],), noises=noises, cond=cond) reproduces x_0; another cond edits it

References: Wu & De la Torre 2023 (CycleDiffusion); Nie et al. 2024; AdjointDEIS, section 4.6.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.samplers.affine import AffineChain
from guidebench.samplers.base import Conditioning, EpsModel, cond_at


def noising_path(
    chain: AffineChain, x_0: Tensor, draw: Callable[[], Tensor], *, coherent: bool = True
) -> tuple[Tensor, ...]:
    """States at every time of the chain, most noisy first, ending in x_0 itself.

    Args:
        chain: a stochastic chain.
        x_0: what the chain is to end in, (b, ...); taken to lie at times[-1].
        draw: gives standard normal (b, ...) on each call.
        coherent: one realisation of the forward process, x_s = r x_t + sqrt(sigma_s^2 - r^2 sigma_t^2) n; otherwise
            x_s = alpha_s x_0 + sigma_s n with independent n, as the official code draws them.
    """
    schedule, path = chain.schedule, [x_0]
    for i in range(len(chain.times) - 1, 0, -1):
        t, s = chain.times[i], chain.times[i - 1]
        if coherent:
            r = schedule.alpha(s) / schedule.alpha(t)
            variance = schedule.sigma(s) ** 2 - (r * schedule.sigma(t)) ** 2
            path.append(r * path[-1] + variance**0.5 * draw())
        else:
            path.append(schedule.alpha(s) * x_0 + schedule.sigma(s) * draw())
    return tuple(reversed(path))


def record_noises(
    chain: AffineChain, eps_model: EpsModel, path: Sequence[Tensor], *, cond: Conditioning = None
) -> tuple[Tensor, ...]:
    """w_k = [x_(k+1) - a x_k - b eps_hat(x_k)] / c, one per stage; they need not be standard normal.

    Cost: N evaluations per sample.

    Raises:
        ConfigError: a stage of the chain adds no noise, or the path has another length.
    """
    if not isinstance(chain, AffineChain) or not all(chain.needs_noise(k) for k in range(chain.n_stages)):
        raise ConfigError(
            "sampler: Cycle-SDE needs noise at every stage; choose sampler=sde_dpm_solver, or ddim with eta > 0 and "
            "sampler.grid.final=t_min"
        )
    if len(path) != chain.n_stages + 1:
        raise ConfigError(
            f"Cycle-SDE: a path of {len(path)} states for {chain.n_stages} stages; one more is needed"
        )
    noises = []
    for k, step in enumerate(chain.steps):
        eps = eps_model(path[k], chain.times[k], cond_at(cond, k))
        noises.append((path[k + 1] - step.a * path[k] - step.b * eps) / step.c)
    return tuple(noises)
