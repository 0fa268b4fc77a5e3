"""b_psi of LMC-SDS: a network that predicts the blur of a frozen model's one-step estimates."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from guidebench.artefacts.base import Artefact, Learned
from guidebench.artefacts.trainer import Trainer, Training
from guidebench.data.pictures import PictureSet
from guidebench.diffusion.prediction import Prediction
from guidebench.diffusion.random import generator
from guidebench.models.base import DiffusionModel
from guidebench.models.networks.plain_unet import PlainUNet
from guidebench.pixels import to_tensor
from guidebench.progress import Progress

_BINS, _BLURS = 10, (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_BATCH = 32


class Corrective(Artefact):
    r"""b_psi(z, t), which minimises

        L_k = |x0_u - b_n|^2,   b_n = (sigma(x0_u) / sigma(b)) (b - mu(b)) + mu(b)
        x0_u = (z_t - sigma_t eps_u) / alpha_t

    over pictures z, t ~ U(t_range), eps ~ N(0, I). First the triplets (z, t, x0_u) of the frozen model are made and
    kept, then the network is trained on them; both go on after an interruption. Being a small network that sees
    neither prompt nor noise, it learns the model's blur and little else.

    Its history has L_k of held-out triplets in ten bins of t ("L_k"), and that of the best Gaussian blur of z in each
    ("L_k of blur"), both as shares of the variance of x0_u.

    Args:
        pictures: what z are.
        training: of the network.
        n_triplets: how many are made.
        batch: triplets per step.
        widths: of the encoder's layers.
        middle: of the middle one: with four widths, nine layers.
        octaves: of the frequency encoding of t / t_max in [0, 1]; 5 make the paper's ten dimensions.
        t_range: of the times, as shares of the schedule.
        clip_x0: clip x0_u to [-1, 1], which tanh cannot leave; for pixel models. Without it the network has no tanh
            and statistics are those of each channel: latents, an extension of the paper.

    References: Alldieck et al., LMC-SDS, ECCV 2024, Sec. 4 and Appendix A.

    Differs from the paper: the up-sampling (bilinear), the pooling (one per layer) and the encoding's octaves are not
    printed. A fixed set of triplets, flipped at random, instead of 96 million.
    """

    paper = "LMC-SDS (Alldieck et al. 2024), Eq. 8-10"

    def __init__(
        self,
        pictures: PictureSet,
        training: Training,
        n_triplets: int = 4096,
        batch: int = 64,
        widths: Sequence[int] = (32, 64, 128, 256),
        middle: int = 512,
        octaves: int = 5,
        t_range: Sequence[float] = (0.02, 0.98),
        clip_x0: bool = True,
    ) -> None:
        self.pictures, self.training, self.n_triplets, self.batch = pictures, training, n_triplets, batch
        self.widths, self.middle, self.octaves = tuple(widths), middle, octaves
        self.t_range, self.clip_x0 = (t_range[0], t_range[1]), clip_x0

    def fingerprint(self) -> str:
        return self.pictures.name

    def clipped(self, x0: Tensor) -> Tensor:
        """x0_u as the network was trained with."""
        return x0.clamp(-1, 1) if self.clip_x0 else x0

    def network(self, channels: int) -> PlainUNet:
        """Untrained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            return PlainUNet(channels, self.widths, self.middle, self.octaves, bounded=self.clip_x0)

    def predictor(
        self, weights: Mapping[str, Tensor], model: DiffusionModel
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """b(z, t) without gradient: z (n, ...), t (n,) -> (n, ...)."""
        network = self.network(model.sample_shape[0]).to(model.device)
        network.load_state_dict(dict(weights))
        network.eval().requires_grad_(False)
        return lambda z, t: network(z.detach(), t.to(z.dtype) / model.schedule.t_max)

    def learn(self, model: DiffusionModel, progress: Progress) -> Learned:
        triplets = self.triplets(model, progress)
        z, t, x0 = (triplets[name].to(model.device) for name in ("z", "t", "x0"))
        held_out = max(1, len(z) // 10)
        network = self.network(model.sample_shape[0]).to(model.device)
        axes = self._axes

        def loss(draw: torch.Generator) -> Tensor:
            rows = torch.randint(held_out, len(z), (self.batch,), generator=draw)
            flip = torch.rand(self.batch, generator=draw) < 0.5
            some, wanted = z[rows], x0[rows]
            some[flip], wanted[flip] = some[flip].flip(-1), wanted[flip].flip(-1)
            return _distance(network(some, t[rows]), wanted, axes).mean()

        trainer = Trainer(network, self.training)
        losses = trainer.run(loss, progress)
        best = trainer.best.eval()
        with torch.no_grad():
            known = (z[:held_out], t[:held_out], x0[:held_out])
            b = torch.cat(
                [best(*pair) for pair in zip(known[0].split(_BATCH), known[1].split(_BATCH), strict=True)]
            )
            history = {"loss": losses, **self._by_bin(b, *known)}
        return Learned(best.state_dict(), history)

    @property
    def _axes(self) -> tuple[int, ...]:
        return (1, 2, 3) if self.clip_x0 else (2, 3)

    @torch.no_grad()
    def triplets(self, model: DiffusionModel, progress: Progress) -> dict[str, Tensor]:
        """z, t / t_max and x0_u of `n_triplets` looks at pictures, made in steps of one batch."""
        pictures, shape, schedule = self.pictures.pictures(), model.sample_shape, model.schedule
        null = model.condition([model.null])
        state = {
            "z": torch.zeros(self.n_triplets, *shape),
            "t": torch.zeros(self.n_triplets),
            "x0": torch.zeros(self.n_triplets, *shape),
        }
        low, high = (share * (schedule.t_max - schedule.t_min) for share in self.t_range)
        for step in progress.steps(-(-self.n_triplets // _BATCH), state):
            draw = generator(self.training.seed, "corrective", f"triplets@{step}")
            rows = slice(step * _BATCH, min((step + 1) * _BATCH, self.n_triplets))
            some = [pictures[i % len(pictures)] for i in range(rows.start, rows.stop)]
            z = model.encode(to_tensor([picture.load() for picture in some], model.device))
            # One time per batch, stratified over the range, so that the network is asked once.
            share = (step * 0.6180339887498949 + float(torch.rand((), generator=draw)) / 97) % 1.0
            time = schedule.t_min + low + share * (high - low)
            eps = torch.randn(z.shape, generator=draw).to(z.device)
            alpha_t, sigma_t = schedule.alpha(time), schedule.sigma(time)
            z_t = alpha_t * z + sigma_t * eps
            eps_u = model.eps(z_t, time, null.expand(len(z), *null.shape[1:]))
            state["z"][rows], state["t"][rows] = z.float().cpu(), time / schedule.t_max
            state["x0"][rows] = self.clipped(Prediction("eps", eps_u, z_t, alpha_t, sigma_t).x0).float().cpu()
        return state

    def _by_bin(self, b: Tensor, z: Tensor, t: Tensor, x0: Tensor) -> dict[str, Tensor]:
        """L_k of b, and of the best Gaussian blur of z, in bins of t, over the variance of x0."""
        bins = (t * _BINS).long().clamp(max=_BINS - 1)
        variance = (x0 - x0.mean(self._axes, keepdim=True)).square().flatten(1).sum(1)
        ours = _distance(b, x0, self._axes) / variance
        side = z.shape[-1] // 2 * 2 - 1
        blurred = torch.stack(
            [_distance(gaussian_blur(z, [side, side], [s, s]), x0, self._axes) / variance for s in _BLURS]
        )
        present = [k for k in range(_BINS) if (bins == k).any()]
        return {
            "bin": torch.tensor(present, dtype=torch.float32) / _BINS,
            "L_k": torch.stack([ours[bins == k].mean() for k in present]).cpu(),
            "L_k of blur": torch.stack([blurred[:, bins == k].mean(1).min() for k in present]).cpu(),
        }


def normalised(b: Tensor, x0: Tensor, axes: tuple[int, ...]) -> Tensor:
    """b_n: b with the standard deviation of x0 over `axes`, in float32, its mean its own."""
    b, x0 = b.float(), x0.float()
    mean = b.mean(axes, keepdim=True)
    ratio = x0.std(axes, keepdim=True) / b.std(axes, keepdim=True).clamp_min(1e-6)
    return ratio * (b - mean) + mean


def _distance(b: Tensor, x0: Tensor, axes: tuple[int, ...]) -> Tensor:
    """|x0 - b_n|^2, (n,)."""
    return (x0 - normalised(b, x0, axes)).square().flatten(1).sum(1)
