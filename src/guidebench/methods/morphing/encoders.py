"""How a picture becomes the noise that its chain starts from: the ways to run the probability flow backwards."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from guidebench.diffusion.schedules import TableSchedule
from guidebench.errors import ConfigError
from guidebench.methods.base import Setup
from guidebench.samplers.affine import AffineChain
from guidebench.samplers.base import EpsModel, Noises, Sampler, sample
from guidebench.samplers.cycle_sde import noising_path, record_noises


class Encoding(NamedTuple):
    """Where the chains of encoded pictures start.

    Attributes:
        x_T: noise, (n, ...).
        noises: of the sampler's stochastic stages, where they were recorded with it.
    """

    x_T: Tensor  # noqa: N815
    noises: Noises | None = None


class Encoder(ABC):
    """A way to encode pictures, given what the model is conditioned on."""

    @abstractmethod
    def encode(
        self, setup: Setup, eps_model: EpsModel, x_0: Tensor, cond: Tensor, draw: Callable[[], Tensor]
    ) -> Encoding:
        """The encodings of n pictures.

        Args:
            setup: model and sampler.
            eps_model: the model's prediction.
            x_0: (n, ...), in the model's space.
            cond: (n, ...).
            draw: gives standard normal (n, ...) on each call.
        """

    @abstractmethod
    def evaluations(self, setup: Setup) -> int:
        """Network evaluations per picture."""


class Inversion(Encoder):
    """The probability-flow ODE, solved from the picture to the noise on the ascending grid of a sampler.

    The picture counts as x at the least noisy time of the grid, which is t_min: no network is defined at clean data.
    EDICT's exact inversion gives a pair that is not one x_T; name another sampler with it.

    Args:
        sampler: solves it; null takes the job's sampler, and then decoding undoes encoding up to the solver's error.

    References: Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, Sec. 4.3; Fast-DiM (Blasingame & Liu
    2024), which encodes with the solver that samples.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.sampler = sampler

    def encode(
        self, setup: Setup, eps_model: EpsModel, x_0: Tensor, cond: Tensor, draw: Callable[[], Tensor]
    ) -> Encoding:
        sampler, schedule = self._sampler(setup), setup.model.schedule
        inverse = sampler.chain(schedule, sampler.chain(schedule).times[::-1])
        return Encoding(inverse.output(sample(inverse, eps_model, inverse.init(x_0), cond=cond)))

    def evaluations(self, setup: Setup) -> int:
        return self._sampler(setup).chain(setup.model.schedule).n_stages

    def _sampler(self, setup: Setup) -> Sampler:
        return setup.sampler if self.sampler is None else self.sampler


class ClippedInversion(Encoder):
    r"""DiffAE's own stochastic encoder, as its released code runs it.

        x0 = clip((x_t - sigma_t eps_hat) / alpha_t, -1, 1);   eps' = (x_t - alpha_t x0) / sigma_t
        x_u = alpha_u x0 + sigma_u eps'

    on the times 0, s, 2 s, ... with s = 1000 / n_steps; the last step leads to pure noise, x_T = eps'. The clip makes
    it no solution of the probability flow: decoding does not undo it.

    Args:
        n_steps: evaluations (DiM: 250).

    References: Preechakul et al., "Diffusion Autoencoders", CVPR 2022, eq. 8, and its code.
    """

    def __init__(self, n_steps: int = 250) -> None:
        self.n_steps = n_steps

    def encode(
        self, setup: Setup, eps_model: EpsModel, x_0: Tensor, cond: Tensor, draw: Callable[[], Tensor]
    ) -> Encoding:
        schedule = setup.model.schedule
        if not isinstance(schedule, TableSchedule) or not 1 <= self.n_steps <= schedule.n_timesteps:
            raise ConfigError(
                f"method.encoder: ClippedInversion strides over a table of times; got n_steps={self.n_steps} on "
                f"{schedule!r}; choose another encoder, or a number of steps that the table has"
            )
        times = [float(k * (schedule.n_timesteps // self.n_steps)) for k in range(self.n_steps)]
        levels = [(schedule.alpha(t), schedule.sigma(t)) for t in times] + [(0.0, 1.0)]
        x = x_0
        for t, ((alpha_t, sigma_t), (alpha_u, sigma_u)) in zip(times, pairwise(levels), strict=True):
            clean = ((x - sigma_t * eps_model(x, t, cond)) / alpha_t).clamp(-1, 1)
            x = alpha_u * clean + sigma_u * (x - alpha_t * clean) / sigma_t
        return Encoding(x)

    def evaluations(self, setup: Setup) -> int:
        return self.n_steps


class CycleSDE(Encoder):
    """A noisy path to the picture, and the noises with which the stochastic sampler follows it back.

    Args:
        coherent: the path is one realisation of the forward process; otherwise every state has a noise of its own, as
            in the released code.

    Raises:
        ConfigError: the sampler is not stochastic at every stage.

    References: Wu & De la Torre, "A latent space of stochastic diffusion models", ICCV 2023; AdjointDEIS, Sec. 4.6.
    """

    def __init__(self, coherent: bool = True) -> None:
        self.coherent = coherent

    def encode(
        self, setup: Setup, eps_model: EpsModel, x_0: Tensor, cond: Tensor, draw: Callable[[], Tensor]
    ) -> Encoding:
        chain = setup.chain()
        if not setup.sampler.is_stochastic or not isinstance(chain, AffineChain):
            raise ConfigError(
                "method.encoder: Cycle-SDE records the noise of a stochastic sampler, and sampler: "
                f"{type(setup.sampler).__name__} draws none; choose sampler=sde_dpm_solver, or another encoder"
            )
        path = noising_path(chain, x_0, draw, coherent=self.coherent)
        return Encoding(path[0], record_noises(chain, eps_model, path, cond=cond))

    def evaluations(self, setup: Setup) -> int:
        return setup.chain().n_stages
