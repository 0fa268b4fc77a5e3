"""Distance between a text and a motion, by the networks that text-to-motion papers evaluate with."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidebench.errors import ConfigError, WeightsError
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.networks.text_motion_match import TextMotionMatch
from guidebench.models.readers.base import Reader
from guidebench.models.weights import digest, resolve
from guidebench.motion.representation import FEATURES, read_statistics

TAGS = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER"),
)
"""Word classes, in the checkpoint's order; the VIP ones are of words that matter to motions, such as walk/Act_VIP."""

_CONTACTS = 4  # the last features of a frame, which are not looked at
_WORD = 300
_NOT_WEIGHTS = ("opt_", "epoch", "iter")


class MotionEvaluator(Reader):
    """The evaluator of HumanML3D: Euclidean distance between the embeddings of a text and of a motion.

    Args:
        source: its file (`text_mot_match/model/finest.tar`), see `Checkpoint`.
        tokens: by prompt, its words as `word/TAG`, separated by spaces; verbs in their base form.
        vectors: GloVe's text file `glove.6B.300d.txt`: a word and 300 numbers a line.
        statistics: directory with the evaluator's own `t2m_mean.npy` and `t2m_std.npy`, not the generator's.
        random_weights: build everything with random numbers and read no file.

    Cost: one forward of small recurrent networks per motion.

    References: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022.
    """

    paper = "Guo et al. 2022"

    def __init__(
        self,
        source: str,
        tokens: Mapping[str, str],
        vectors: str | None = None,
        statistics: str | None = None,
        random_weights: bool = False,
    ) -> None:
        self._checkpoint = Checkpoint(source, {}, random_weights=random_weights)
        self.tokens, self.vectors, self.statistics = dict(tokens), vectors, statistics

    @property
    def network_id(self) -> str:
        """Names the weights."""
        return "text_motion_match" + (" (random weights)" if self._checkpoint.random_weights else "")

    def fingerprint(self) -> str:
        """Identifies the weights, the words and the statistics."""
        words = hashlib.sha256(repr(sorted(self.tokens.items())).encode()).hexdigest()[:12]
        if self._checkpoint.random_weights:
            return f"{self._checkpoint.fingerprint()} {words}"
        files = [digest(self._path(name)) for name in ("vectors", "statistics")]
        return " ".join([self._checkpoint.fingerprint(), *files, words])

    def load(self, device: torch.device | str) -> None:
        self._network.to(device)

    @torch.no_grad()
    def distances(self, motions: Tensor, prompts: Sequence[str]) -> Tensor:
        """Distances (b,) of motions from their prompts.

        Args:
            motions: (b, frames, d), of which the last 263 numbers are HumanML3D's features, not normalised.
            prompts: b texts.

        Raises:
            ConfigError: a prompt has no tokens, or the motions have no features.
            WeightsError: a file is missing or damaged.
        """
        texts = {prompt: self.embed_text(prompt, motions.device) for prompt in set(prompts)}
        apart = self.embed_motions(motions) - torch.stack([texts[prompt] for prompt in prompts])
        return torch.linalg.vector_norm(apart, dim=1)

    def embed_motions(self, motions: Tensor) -> Tensor:
        """Embeddings (b, 512) of motions as in `distances`."""
        if motions.shape[2] < FEATURES or motions.shape[1] < 4:
            raise ConfigError(
                f"metric=text_motion_distance needs HumanML3D's {FEATURES} features of at least 4 frames, got motions "
                f"of the shape {tuple(motions.shape)}; choose model=mdm, or leave the metric out"
            )
        mean, std = (values.to(motions) for values in self._statistics)
        looked_at = ((motions[..., -FEATURES:] - mean) / std)[..., :-_CONTACTS]
        network = self._network.to(motions.device)
        return network.motion_encoder(network.movement_encoder(looked_at))

    def embed_text(self, prompt: str, device: torch.device) -> Tensor:
        """Embedding (512,) of a prompt."""
        if prompt not in self.tokens:
            raise ConfigError(
                f"metric=text_motion_distance knows no tokens of {prompt!r}; add them to its `tokens`, as "
                f"'a/DET person/NOUN walk/Act_VIP'. It knows: {', '.join(self.tokens)}"
            )
        vectors, tags = zip(*(self._word(word, tag) for word, tag in self._tagged(prompt)), strict=True)
        network = self._network.to(device)
        return network.text_encoder(
            torch.stack(vectors)[None].to(device), torch.stack(tags)[None].to(device)
        )[0]

    def _tagged(self, prompt: str) -> list[tuple[str, str]]:
        """Words and tags, with the marks of start and end."""
        pairs = [token.partition("/")[::2] for token in self.tokens[prompt].split()]
        wrong = [f"{word}/{tag}" for word, tag in pairs if tag not in TAGS]
        if wrong:
            raise ConfigError(f"metric.tokens of {prompt!r}: {wrong}; allowed tags: {', '.join(TAGS)}")
        return [("sos", "OTHER"), *pairs, ("eos", "OTHER")]

    def _word(self, word: str, tag: str) -> tuple[Tensor, Tensor]:
        """Vector (300,) and one-hot tag (15,); a word that GloVe lacks is `unk`, OTHER."""
        if word not in self._vectors:
            word, tag = "unk", "OTHER"
        one_hot = torch.zeros(len(TAGS))
        one_hot[TAGS.index(tag)] = 1.0
        return self._vectors[word], one_hot

    @cached_property
    def _network(self) -> Any:
        return self._checkpoint.build(TextMotionMatch, torch.float32, ignore=_NOT_WEIGHTS)

    @cached_property
    def _vectors(self) -> Mapping[str, Tensor]:
        """Vectors of the words that are used, and of `unk`."""
        words = {word for prompt in self.tokens for word, _ in self._tagged(prompt)} | {"unk"}
        if self._checkpoint.random_weights:
            generator = torch.Generator().manual_seed(0)
            return {word: torch.randn(_WORD, generator=generator) for word in sorted(words)}
        path, found = self._path("vectors"), {}
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                word, _, numbers = line.partition(" ")
                if word in words:
                    found[word] = torch.tensor([float(number) for number in numbers.split()])
        if "unk" not in found or any(len(vector) != _WORD for vector in found.values()):
            raise WeightsError(
                f"{path} is not GloVe's file of {_WORD} numbers a word with the word 'unk'; use glove.6B.300d.txt"
            )
        return found

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        if self._checkpoint.random_weights:
            return torch.zeros(FEATURES), torch.ones(FEATURES)
        return read_statistics(self._path("statistics"), ("t2m_mean.npy", "t2m_std.npy"))

    def _path(self, name: str) -> Path:
        value = getattr(self, name)
        if value is None:
            raise WeightsError(f"evaluator.{name}: null; give the path, or set random_weights=true")
        return resolve(value)
