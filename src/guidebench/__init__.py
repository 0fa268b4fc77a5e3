"""guidebench: guide pretrained diffusion models, compare the methods fairly, regenerate the papers' tables.

The names of the library are imported when they are first used (`guidebench/api.py`); `__init__.pyi` types them.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "api": ("Result", "TableResult", "model", "sample", "table"),
    "errors": ("GuidebenchError",),
    "losses.base": ("Loss",),
    "methods.base": ("Method",),
    "methods.end_to_end.dno": ("DNO",),
    "methods.distillation.canvas": ("Latents", "Pixels"),
    "methods.distillation.dds": ("DDS",),
    "methods.distillation.descent": ("Descent",),
    "methods.distillation.lmc_sds": ("LMCSDS",),
    "methods.distillation.ms_sds": ("MSSDS",),
    "methods.distillation.nfsd": ("NFSD",),
    "methods.distillation.sds": ("CSD", "SDS", "ConditionOnly", "SDSBridge"),
    "methods.end_to_end.doodl": ("DOODL",),
    "methods.end_to_end.flowgrad": ("FlowGrad",),
    "methods.end_to_end.implicit_diffusion": ("ImplicitDiffusion",),
    "methods.end_to_end.latent_descent": ("LatentDescent",),
    "methods.end_to_end.pcnl": ("PCNL",),
    "methods.morphing.best_blend": ("BestBlend",),
    "methods.morphing.dim": ("DiM",),
    "methods.morphing.greedy_search": ("GreedySearch",),
    "methods.morphing.landmarks": ("LandmarkMorph",),
    "methods.none": ("Unguided",),
    "methods.posterior.classifier_guidance": ("ClassifierGuidance",),
    "methods.posterior.d_pnp": ("DPnP",),
    "methods.posterior.ddrm": ("DDRM",),
    "methods.posterior.dps": ("DPS",),
    "methods.posterior.freedom": ("FreeDoM",),
    "methods.posterior.greedy": ("Greedy",),
    "methods.posterior.lgd_dps": ("LGDDPS",),
    "methods.posterior.lgd_mc": ("LGDMC",),
    "methods.posterior.mpgd": ("MPGD",),
    "methods.posterior.one_step": ("OneStep",),
    "methods.posterior.pigdm": ("PiGDM",),
    "methods.posterior.tfg": ("TFG",),
    "methods.posterior.universal_guidance": ("UniversalGuidance",),
    "methods.search.best_of_n": ("BestOfN",),
    "methods.search.fk_steering": ("FKSteering",),
    "methods.search.noise_search": ("NoiseSearch",),
    "methods.search.resampling": ("Resampling",),
    "methods.search.twisted_smc": ("TwistedSMC",),
    "models.base": ("DiffusionModel",),
    "samplers.base": ("Sampler",),
    "samplers.ddim": ("DDIM",),
    "samplers.ddpm": ("DDPM",),
    "samplers.dpm_solver": ("DPMSolver",),
    "samplers.edict": ("EDICT",),
    "samplers.heun": ("Heun",),
    "samplers.sde_dpm_solver": ("SDEDPMSolver",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'guidebench' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"guidebench.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
