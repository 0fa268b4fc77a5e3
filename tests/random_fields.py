"""Random fields with a known spectrum and two classes, whose exact denoiser is a Wiener filter per class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.schedules import Cosine, NoiseSchedule
from guidebench.models.base import DiffusionModel

SIDE = 32


class Fields(DiffusionModel):
    """x = m_c + residual with power 1/f^2, one channel; class "a" or "b" of equal weight, the null prompt knows both.

    Args:
        amplitude: of the two means, sinusoids along x and along y; 0 makes it one Gaussian.
        std: of the residual.
    """

    def __init__(self, amplitude: float = 0.4, std: float = 0.25, dtype: torch.dtype = torch.float32) -> None:
        f = torch.fft.fftfreq(SIDE, 1 / SIDE, dtype=dtype)
        radius2 = (f[:, None].square() + f[None].square()).clamp(min=1)
        self.spectrum = std**2 * SIDE**2 * radius2.reciprocal() / radius2.reciprocal().sum()
        wave = (2 * torch.pi * 2 * torch.arange(SIDE, dtype=dtype) / SIDE).sin().expand(SIDE, SIDE)
        self.means = amplitude * torch.stack([wave, wave.T])
        self._schedule = Cosine()

    def load(self, device: torch.device | str) -> None:
        pass

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def schedule(self) -> NoiseSchedule:
        return self._schedule

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return 1, SIDE, SIDE

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Which classes a prompt leaves, (b, 2)."""
        return torch.tensor([[float(p != "b"), float(p != "a")] for p in prompts])

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        assert cond is not None
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        variance = a * a * self.spectrum + s * s
        off = torch.fft.fft2(x_t - a * self.means)  # (b, 2, h, w)
        fit = -0.5 * (off.abs().square() / variance).sum((2, 3)) / SIDE**2
        share = (fit + cond.to(fit.dtype).log()).softmax(1)[:, :, None, None]
        x0 = self.means + torch.fft.ifft2(a * self.spectrum / variance * off).real
        return (x_t - a * (share * x0).sum(1, keepdim=True)) / s

    def blur(self, z: Tensor, t: float) -> Tensor:
        """The linear filter of the pooled spectrum: E[x0_hat | z] where the field is one Gaussian."""
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        centred = self.means - self.means.mean(0)
        pooled = self.spectrum + torch.fft.fft2(centred).abs().square().mean(0) / SIDE**2
        mean = self.means.mean(0)
        return mean + torch.fft.ifft2(a**2 * pooled / (a**2 * pooled + s**2) * torch.fft.fft2(z - mean)).real

    def draw(self, n: int, label: int | None = None, seed: int = 0) -> Tensor:
        """Samples, (n, 1, h, w)."""
        generator = torch.Generator().manual_seed(seed)
        white = torch.fft.fft2(torch.randn(n, 1, SIDE, SIDE, generator=generator))
        labels = torch.arange(n) % 2 if label is None else torch.full((n,), label)
        return self.means[labels][:, None] + torch.fft.ifft2(self.spectrum.sqrt() * white).real

    def decode(self, x0: Tensor) -> Tensor:
        return (x0 / 2 + 0.5).expand(-1, 3, -1, -1)

    def encode(self, images: Tensor) -> Tensor:
        return 2 * images.mean(1, keepdim=True) - 1

    def fingerprint(self) -> str:
        return "exact"
