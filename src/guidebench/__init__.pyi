"""Types of the names that `__init__.py` imports on first use."""

from guidebench.api import (
    Result as Result,
)
from guidebench.api import (
    TableResult as TableResult,
)
from guidebench.api import (
    model as model,
)
from guidebench.api import (
    sample as sample,
)
from guidebench.api import (
    table as table,
)
from guidebench.errors import GuidebenchError as GuidebenchError
from guidebench.losses.base import Loss as Loss
from guidebench.methods.base import Method as Method
from guidebench.methods.distillation.canvas import Latents as Latents
from guidebench.methods.distillation.canvas import Pixels as Pixels
from guidebench.methods.distillation.dds import DDS as DDS
from guidebench.methods.distillation.descent import Descent as Descent
from guidebench.methods.distillation.lmc_sds import LMCSDS as LMCSDS
from guidebench.methods.distillation.ms_sds import MSSDS as MSSDS
from guidebench.methods.distillation.nfsd import NFSD as NFSD
from guidebench.methods.distillation.sds import CSD as CSD
from guidebench.methods.distillation.sds import SDS as SDS
from guidebench.methods.distillation.sds import ConditionOnly as ConditionOnly
from guidebench.methods.distillation.sds import SDSBridge as SDSBridge
from guidebench.methods.end_to_end.dno import DNO as DNO
from guidebench.methods.end_to_end.doodl import DOODL as DOODL
from guidebench.methods.end_to_end.flowgrad import FlowGrad as FlowGrad
from guidebench.methods.end_to_end.implicit_diffusion import ImplicitDiffusion as ImplicitDiffusion
from guidebench.methods.end_to_end.latent_descent import LatentDescent as LatentDescent
from guidebench.methods.end_to_end.pcnl import PCNL as PCNL
from guidebench.methods.morphing.best_blend import BestBlend as BestBlend
from guidebench.methods.morphing.dim import DiM as DiM
from guidebench.methods.morphing.greedy_search import GreedySearch as GreedySearch
from guidebench.methods.morphing.landmarks import LandmarkMorph as LandmarkMorph
from guidebench.methods.none import Unguided as Unguided
from guidebench.methods.posterior.classifier_guidance import ClassifierGuidance as ClassifierGuidance
from guidebench.methods.posterior.d_pnp import DPnP as DPnP
from guidebench.methods.posterior.ddrm import DDRM as DDRM
from guidebench.methods.posterior.dps import DPS as DPS
from guidebench.methods.posterior.freedom import FreeDoM as FreeDoM
from guidebench.methods.posterior.greedy import Greedy as Greedy
from guidebench.methods.posterior.lgd_dps import LGDDPS as LGDDPS
from guidebench.methods.posterior.lgd_mc import LGDMC as LGDMC
from guidebench.methods.posterior.mpgd import MPGD as MPGD
from guidebench.methods.posterior.one_step import OneStep as OneStep
from guidebench.methods.posterior.pigdm import PiGDM as PiGDM
from guidebench.methods.posterior.tfg import TFG as TFG
from guidebench.methods.posterior.universal_guidance import UniversalGuidance as UniversalGuidance
from guidebench.methods.search.best_of_n import BestOfN as BestOfN
from guidebench.methods.search.fk_steering import FKSteering as FKSteering
from guidebench.methods.search.noise_search import NoiseSearch as NoiseSearch
from guidebench.methods.search.resampling import Resampling as Resampling
from guidebench.methods.search.twisted_smc import TwistedSMC as TwistedSMC
from guidebench.models.base import DiffusionModel as DiffusionModel
from guidebench.samplers.base import Sampler as Sampler
from guidebench.samplers.ddim import DDIM as DDIM
from guidebench.samplers.ddpm import DDPM as DDPM
from guidebench.samplers.dpm_solver import DPMSolver as DPMSolver
from guidebench.samplers.edict import EDICT as EDICT
from guidebench.samplers.heun import Heun as Heun
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver as SDEDPMSolver

__version__: str
