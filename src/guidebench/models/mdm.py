"""The human motion diffusion model: text to motion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from guidebench.diffusion.prediction import Prediction
from guidebench.diffusion.schedules import Cosine, NoiseSchedule
from guidebench.errors import ConfigError, WeightsError
from guidebench.models.base import DiffusionModel
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.mdm_transformer import MotionTransformer
from guidebench.models.readers.clip import CLIP
from guidebench.models.weights import digest, resolve
from guidebench.motion.representation import FEATURES, MAX_FRAMES, read_statistics, recover_joints
from guidebench.samples import SampleKind

_MAX_TOKENS = 22  # twenty words, start and end
_NOT_WEIGHTS = ("sequence_pos_encoder.", "embed_timestep.sequence_pos_encoder.", "clip_model.")


class MDM(DiffusionModel):
    """A model of human motions in HumanML3D's representation, told by CLIP what the text says.

    The network predicts the clean motion, normalised; betas follow the cosine over 1000 steps.

    Args:
        source: file of the weights (`model000475000.pt` of humanml_trans_enc_512), see `Checkpoint`.
        clip: encodes the text: OpenAI's ViT-B/32.
        statistics: directory with `Mean.npy` and `Std.npy` of the training data; null, for random weights alone, takes
            0 and 1.
        frames: length of the motions, 20 frames per second; 2 to 196.
        architecture: arguments of `MotionTransformer`; null where `source` is a directory that has them.
        random_weights: build the architecture with random weights (seed 0) instead of loading `source`.
        dtype: precision of the network: "float32" or "bfloat16".

    References: Tevet et al., "Human Motion Diffusion Model", ICLR 2023.

    Differs from the paper: CLIP runs in its own `precision` instead of half precision.
    """

    paper = "Tevet et al. 2023"
    kind: ClassVar[SampleKind] = "motion"

    def __init__(
        self,
        source: str,
        clip: CLIP,
        statistics: str | None = None,
        frames: int = 120,
        architecture: Mapping[str, Any] | None = None,
        random_weights: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        if not 2 <= frames <= MAX_FRAMES:
            raise ConfigError(f"model.frames={frames}; allowed: 2 to {MAX_FRAMES}.")
        self.clip, self.statistics, self.frames = clip, statistics, frames
        self._checkpoint = Checkpoint(source, architecture, random_weights=random_weights)
        self._dtype = getattr(torch, dtype)
        self._network: nn.Module | None = None
        self._device = torch.device("cpu")

    def fingerprint(self) -> str:
        used = "" if self._checkpoint.random_weights else digest(self._statistics_directory())
        return f"{self._checkpoint.fingerprint()} {used} {self.clip.fingerprint()}"

    def load(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        if self._network is None:
            self._mean, self._std = self._read_statistics()
            self._network = self._checkpoint.build(MotionTransformer, self._dtype, ignore=_NOT_WEIGHTS)
        self._network.to(self._device)
        self._mean, self._std = self._mean.to(self._device), self._std.to(self._device)
        self.clip.text_features([""], self._device)

    def _read_statistics(self) -> tuple[Tensor, Tensor]:
        if self._checkpoint.random_weights:
            return torch.zeros(FEATURES), torch.ones(FEATURES)
        return read_statistics(self._statistics_directory(), ("Mean.npy", "Std.npy"))

    def _statistics_directory(self) -> Path:
        if self.statistics is None:
            raise WeightsError(
                "model.statistics: null; give the directory of HumanML3D's Mean.npy and Std.npy, with which the "
                "network was trained"
            )
        return resolve(self.statistics)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The frozen network by name: transformer."""
        if self._network is None:
            raise WeightsError("MDM is not loaded: call load(device) first")
        return {"transformer": self._network}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def schedule(self) -> NoiseSchedule:
        return Cosine()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.frames, FEATURES

    def check_prompts(self, prompts: Sequence[str]) -> None:
        self.clip.check_texts(prompts, _MAX_TOKENS)

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """CLIP's text features, (b, 512), not normalised; zeros for the null prompt. Twenty tokens are read."""
        features = self.clip.text_features(prompts, self._device, max_tokens=_MAX_TOKENS).float()
        told = torch.tensor([bool(prompt) for prompt in prompts], device=self._device)
        return features * told[:, None]

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        network = self.modules["transformer"]
        text = x_t.new_zeros(len(x_t), int(network.text_width)) if cond is None else cond  # type: ignore[arg-type]
        times = torch.full((len(x_t),), float(t), device=x_t.device)
        x0 = network(x_t.to(self._dtype), times, text.to(self._dtype)).to(x_t.dtype)
        return Prediction("x0", x0, x_t, self.schedule.alpha(t), self.schedule.sigma(t)).told

    def decode(self, x0: Tensor) -> Tensor:
        """Motions (b, frames, 66 + 263): positions of the 22 joints, the root first, metres; then the features."""
        features = x0 * self._std + self._mean
        return torch.cat([recover_joints(features).flatten(2), features], dim=2)

    def encode(self, images: Tensor) -> Tensor:
        """x_0 of motions as `decode` gives them; the features count, the positions follow from them."""
        return (images[..., -FEATURES:] - self._mean) / self._std
