"""LMC-SDS: the projection of SDS replaced by a corrective towards what the model would not blur."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from guidebench.artefacts.corrective import Corrective, normalised
from guidebench.methods.base import Setup
from guidebench.methods.distillation.base import Distillation
from guidebench.methods.distillation.look import Look, cosine

_EPS_FRESH = "method corrective"


class LMCSDS(Distillation):
    r"""Score distillation with a learned manifold corrective.

        g = g_lmc + g_cond,    g_lmc = b_n - x0_u,    g_cond = w (eps_c - eps_u)
        b_n = (sigma(x0_u) / sigma(b)) (b - mu(b)) + mu(b),    b = b_psi(z, t)

    x0_u is the model's one-step estimate without prompt, whose blur b_psi predicts from z and t, so that only what is
    not blur remains. g_lmc has no factor alpha_t / sigma_t and g_cond stays in the space of the noise, as printed.

    Cost: 2 network rows per view and step, 3 with `fixed_eps`, whose noise is that of g_cond alone: the corrective
    keeps fresh noise, at the same times.

    Args:
        corrective: b_psi, learned once for the model.
        norm_dims: what sigma and mu are taken over: "chw", an image, or "hw", each channel (for latents).

    References: Alldieck, Kolotouros, Sminchisescu, "Score Distillation Sampling with Learned Manifold Corrective",
    ECCV 2024, Eq. 6-10.
    """

    paper = "LMC-SDS (Alldieck et al. 2024), Eq. 10"
    uses = ("artefact",)
    curves = ("g_lmc", "cosine", "sigma_ratio")

    def __init__(
        self, corrective: Corrective, norm_dims: Literal["chw", "hw"] = "chw", **shared: Any
    ) -> None:
        super().__init__(**shared)
        self.corrective, self.norm_dims = corrective, norm_dims
        self.evaluations = 3 if self.fixed_eps else 2
        self._b: Callable[[Tensor, Tensor], Tensor] | None = None

    def begin(self, setup: Setup) -> None:
        self._b = self.corrective.predictor(setup.learned("corrective"), setup.model)

    def gradient(self, look: Look) -> Tensor:
        assert self._b is not None  # `begin` came before
        x0_u = look.x0_u
        if self.fixed_eps:
            z_t = look.noised(look.z, look.normal(_EPS_FRESH))
            x0_u = (z_t - look.sigma_t * look.ask(z_t, [""] * len(z_t))) / look.alpha_t
        x0_u = self.corrective.clipped(x0_u)
        b = self._b(look.z, look.t)
        g_lmc = normalised(b, x0_u, (1, 2, 3) if self.norm_dims == "chw" else (2, 3)) - x0_u
        look.log("g_lmc", g_lmc)
        look.log("cosine", cosine(g_lmc, look.g_cond))
        look.log("sigma_ratio", x0_u.flatten(1).std(1) / b.flatten(1).std(1).clamp_min(1e-6))
        return g_lmc + look.g_cond
