"""Walks over a floor whose distribution is known exactly: a motion model without a network."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from guidebench.diffusion.schedules import Cosine, NoiseSchedule
from guidebench.errors import ConfigError, WeightsError
from guidebench.models.base import DiffusionModel
from guidebench.motion.representation import FRAMES_PER_SECOND
from guidebench.samples import SampleKind


@dataclass(frozen=True)
class Gait:
    """How the person of a prompt moves: at a speed in one of some directions, unsteadily.

    Args:
        speed: mean velocity, metres per second; below 0 it is backwards.
        headings: degrees from the z axis towards the x axis, all equally likely.
        wobble: standard deviation of the velocity about its mean, metres per second, along each axis.
        memory: seconds after which the wobble is forgotten; larger is smoother.
    """

    speed: float
    headings: tuple[float, ...]
    wobble: float
    memory: float


GAITS = {
    "a person walks": Gait(1.1, (-30.0, 0.0, 30.0), 0.30, 1.0),
    "a person walks backwards": Gait(-0.7, (-20.0, 0.0, 20.0), 0.25, 0.8),
    "a person walks backwards slowly": Gait(-0.35, (-20.0, 0.0, 20.0), 0.15, 0.8),
    "a person walks on a balance beam": Gait(0.4, (0.0,), 0.08, 1.5),
    "a person jogs": Gait(2.2, (-40.0, 0.0, 40.0), 0.50, 1.2),
    "a person lifts an object above the head": Gait(0.0, (0.0,), 0.20, 0.5),
}
"""By prompt; the kinds of motion of LGD's tables 2 and 3."""


def matern(seconds: Tensor, memory: float) -> Tensor:
    """Matérn correlation of order 3/2 at lags `seconds`: (1 + r) exp(-r), r = sqrt(3) |lag| / memory."""
    r = math.sqrt(3.0) * seconds.abs() / memory
    return (1.0 + r) * torch.exp(-r)


class MotionPrior(DiffusionModel):
    """Gaussian-process walks: the floor velocities of a prompt are a mixture of Gaussians, so every score is exact.

    The velocity of frame i is v_i = speed u + w_i, with u the unit vector of a random heading and w a Gaussian process
    of covariance wobble^2 matern(|i - j| / fps), the same along x and z. The model's space holds v_1 … v_n, with mean
    and standard deviation over all prompts taken out, as human motion models hold theirs; motions are the positions
    p_i = sum_{j<=i} v_j / fps, so noise in the model's space is a random walk on the floor. The null prompt is the
    mixture of all prompts.

    With component k of weight pi_k, mean m_k and covariance U_k diag(l_k) U_k^T, and d_k = U_k^T (x_t - alpha m_k),

        eps_hat = sigma sum_k r_k U_k (alpha^2 l_k + sigma^2)^-1 d_k,
        r_k proportional to pi_k N(d_k; 0, alpha^2 l_k + sigma^2).

    Args:
        frames: length of the motions, at 20 frames per second.
    """

    paper = "an exact stand-in for Tevet et al. 2023"
    kind: ClassVar[SampleKind] = "motion"

    def __init__(self, frames: int = 120) -> None:
        if frames < 2:
            raise ConfigError(f"model.frames={frames}; allowed: 2 or more.")
        self.frames = frames
        self._device = torch.device("cpu")
        self._constants: dict[str, Tensor] | None = None

    def fingerprint(self) -> str:
        numbers = repr([(prompt, astuple(gait)) for prompt, gait in GAITS.items()])
        return f"gaits {hashlib.sha256(numbers.encode()).hexdigest()[:12]}"

    def load(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._constants = {name: value.to(self._device) for name, value in self._made.items()}

    @cached_property
    def _made(self) -> dict[str, Tensor]:
        """Mean (K, n, 2), basis (K, n, n) and variance (K, n, 2) of the components; shift and scale (2,); float64."""
        times = torch.arange(self.frames, dtype=torch.float64) / FRAMES_PER_SECOND
        means, bases, variances, shares = [], [], [], []
        for gait in GAITS.values():
            covariance = gait.wobble**2 * matern(times[:, None] - times, gait.memory)
            variance, basis = torch.linalg.eigh(covariance)
            for heading in gait.headings:
                angle = math.radians(heading)
                means.append(gait.speed * torch.tensor([math.sin(angle), math.cos(angle)]).double())
                bases.append(basis)
                variances.append(variance.clamp(min=0.0))
                shares.append(1.0 / (len(GAITS) * len(gait.headings)))
        mean, share = torch.stack(means), torch.tensor(shares, dtype=torch.float64)
        shift = share @ mean
        wobble = torch.stack(variances).mean(1)
        scale = (share @ ((mean - shift).square() + wobble[:, None])).sqrt()
        return {
            "mean": ((mean - shift) / scale)[:, None].expand(-1, self.frames, -1),
            "basis": torch.stack(bases),
            "variance": torch.stack(variances)[..., None] / scale**2,
            "log_share": share.log(),
            "shift": shift,
            "scale": scale,
        }

    def _constant(self, name: str) -> Tensor:
        if self._constants is None:
            raise WeightsError("MotionPrior is not loaded: call load(device) first")
        return self._constants[name]

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def schedule(self) -> NoiseSchedule:
        return Cosine()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.frames, 2

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Logits (b, K) of the components: 0 for the prompt's, minus infinity for the others.

        Raises:
            ConfigError: a prompt is not one of `GAITS`.
        """
        owners = [prompt for prompt, gait in GAITS.items() for _ in gait.headings]
        rows = []
        for prompt in prompts:
            if prompt and prompt not in GAITS:
                raise ConfigError(
                    f"the exact motion prior does not know the prompt {prompt!r}; it knows: {', '.join(GAITS)}"
                )
            rows.append([0.0 if not prompt or owner == prompt else -math.inf for owner in owners])
        return torch.tensor(rows, device=self._device)

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        """The exact noise prediction, (b, frames, 2); computed in float64, returned as x_t's type."""
        sigma_t = self.schedule.sigma(t)
        whitened, log_density = self._components(x_t, self.schedule.alpha(t), sigma_t, cond)
        weighted = torch.softmax(log_density, dim=1)[..., None, None] * whitened
        return (sigma_t * torch.einsum("kmn,bknd->bmd", self._constant("basis"), weighted)).to(x_t.dtype)

    def log_density(self, motions: Tensor, prompts: Sequence[str], noise: float = 0.0) -> Tensor:
        """Log-density of motions under their prompts, (b,), float64, in the model's space.

        Args:
            motions: (b, frames, 3), metres.
            prompts: b of them.
            noise: standard deviation of noise that the density allows for, in the model's space; walks are so smooth
                that the rounding of single precision alone makes them unlikely without any.
        """
        _, log_density = self._components(self.encode(motions.double()), 1.0, noise, self.condition(prompts))
        return log_density.logsumexp(1)

    def _components(
        self, x_t: Tensor, alpha_t: float, sigma_t: float, cond: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Residuals over variances in the components' bases, (b, K, n, 2); joint log-densities with x_t, (b, K)."""
        basis, log_share = self._constant("basis"), self._constant("log_share")
        logits = log_share if cond is None else torch.log_softmax(log_share + cond.double(), dim=1)
        residual = x_t.double()[:, None] - alpha_t * self._constant("mean")
        turned = torch.einsum("kmn,bkmd->bknd", basis, residual)
        variance = alpha_t**2 * self._constant("variance") + sigma_t**2
        whitened = turned / variance
        energy = (turned * whitened + torch.log(2 * math.pi * variance)).sum((2, 3)) / 2
        return whitened, logits - energy

    def decode(self, x0: Tensor) -> Tensor:
        """Positions of the root, (b, frames, 3), metres, at height 0."""
        velocity = x0 * self._constant("scale").to(x0.dtype) + self._constant("shift").to(x0.dtype)
        x, z = (velocity / FRAMES_PER_SECOND).cumsum(1).unbind(-1)
        return torch.stack([x, torch.zeros_like(x), z], dim=-1)

    def encode(self, images: Tensor) -> Tensor:
        """x_0 (b, frames, 2) of motions (b, frames, 3); the heights are lost."""
        floor = images[..., [0, 2]]
        velocity = floor.diff(dim=1, prepend=torch.zeros_like(floor[:, :1])) * FRAMES_PER_SECOND
        return (velocity - self._constant("shift").to(images.dtype)) / self._constant("scale").to(
            images.dtype
        )
