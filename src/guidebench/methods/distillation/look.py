"""One look of a frozen model at something rendered: noise, time, and what the network says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.models.base import DiffusionModel
from guidebench.problems import Problem


class Network:
    """The frozen network without gradient, asked at a time of each row; counts rows per problem.

    Args:
        model: loaded.
        n_problems: b, of the batch.
    """

    def __init__(self, model: DiffusionModel, n_problems: int) -> None:
        self.model, self.n_problems, self.cost = model, n_problems, Cost()
        self._conditions: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """eps_hat, (n, ...), of z_t (n, ...) at times (n,): one call for all rows of a time."""
        self.cost += Cost(nfe_fwd=len(z_t) // self.n_problems)
        eps = torch.empty_like(z_t)
        for time in t.unique().tolist():
            rows = t == time
            eps[rows] = self.model.eps(z_t[rows], time, cond[rows])
        return eps

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t at times (n,), each shaped to multiply `like`, (n, ...)."""
        schedule, shape = self.model.schedule, (-1, *[1] * (like.ndim - 1))
        times = t.tolist()
        alpha_t = like.new_tensor([schedule.alpha(time) for time in times]).view(shape)
        return alpha_t, like.new_tensor([schedule.sigma(time) for time in times]).view(shape)

    def condition(self, values: Sequence[str]) -> Tensor:
        """What the model is conditioned on, (n, ...); texts are encoded once."""
        new = [value for value in dict.fromkeys(values) if value not in self._conditions]
        if new:
            self._conditions |= zip(new, self.model.condition(new), strict=True)
        return torch.stack([self._conditions[value] for value in values])


@dataclass
class Look:
    """What a model sees of n rendered things: z_t = alpha_t z + sigma_t eps, and what it predicts there.

    Args:
        z: what is looked at, (n, ...), in the model's space, without gradient.
        eps: the noise, (n, ...).
        z_t: the noisy sample.
        eps_u: eps_hat(z_t, t, null).
        eps_c: eps_hat(z_t, t, prompt).
        t: times, (n,).
        alpha_t: signal coefficients, (n, 1, ...).
        sigma_t: noise coefficients, (n, 1, ...).
        cfg_scale: w, in eps_u + w (eps_c - eps_u): 1 is plain conditional prediction. Codes that write
            eps_c + s (eps_c - eps_u), as threestudio's, have w = s + 1.
        step: of the optimisation.
        problems: of each row.
        words: behind each row's prompt, such as ", side view".
        source: where there is a source picture, the same view of it, (n, ...).
        cond: the conditions of eps_u, then those of eps_c, (2 n, ...).
        network: answers more questions, each counted.
        normal: standard normal draws (n, ...) of this step from a stream.

    Attributes:
        logged: values to remember of this step, by name, each (n,).
    """

    z: Tensor
    eps: Tensor
    z_t: Tensor
    eps_u: Tensor
    eps_c: Tensor
    t: Tensor
    alpha_t: Tensor
    sigma_t: Tensor
    cfg_scale: float
    step: int
    problems: Sequence[Problem]
    words: Sequence[str]
    source: Tensor | None
    cond: Tensor
    network: Network
    normal: Callable[[str], Tensor]
    logged: dict[str, Tensor] = field(default_factory=dict)

    @property
    def eps_w(self) -> Tensor:
        """eps_hat under classifier-free guidance."""
        return self.eps_u + self.cfg_scale * (self.eps_c - self.eps_u)

    @property
    def g_cond(self) -> Tensor:
        """w (eps_c - eps_u), towards the prompt."""
        return self.cfg_scale * (self.eps_c - self.eps_u)

    @property
    def g_proj(self) -> Tensor:
        """eps_u - eps = (alpha_t / sigma_t) (z - x0_u), towards the one-step estimate of a natural sample."""
        return self.eps_u - self.eps

    @property
    def x0_u(self) -> Tensor:
        """One-step estimate of the clean sample without prompt, (z_t - sigma_t eps_u) / alpha_t."""
        return (self.z_t - self.sigma_t * self.eps_u) / self.alpha_t

    def noised(self, z: Tensor, eps: Tensor) -> Tensor:
        """z at this look's times."""
        return self.alpha_t * z + self.sigma_t * eps

    def ask(self, z_t: Tensor, prompts: Sequence[str]) -> Tensor:
        """eps_hat, (n, ...), at this look's times of other noisy samples or prompts: one network row per sample."""
        return self.network(z_t, self.t, self.network.condition(prompts))

    def both(self, z_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """eps_u and eps_c at other times (n,): two network rows per sample."""
        eps_u, eps_c = self.network(torch.cat([z_t, z_t]), t.repeat(2), self.cond).chunk(2)
        return eps_u, eps_c

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t at times (n,), each (n, 1, ...)."""
        return self.network.coefficients(t, self.z)

    def log(self, name: str, values: Tensor) -> None:
        """Remember a value of this step: (n,), or a tensor (n, ...) by its norm."""
        self.logged[name] = values if values.ndim == 1 else values.flatten(1).norm(dim=1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the rows of (n, ...): (n,)."""
    return torch.cosine_similarity(a.flatten(1), b.flatten(1))
