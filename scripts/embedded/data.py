"""Rendered pictures, caption tokens and facts of the worlds, drawn once and kept as arrays."""

import itertools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from guidebench.data.worlds import WORLDS
from guidebench.data.worlds.scenes import scene

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = Path(os.environ.get("GUIDEBENCH_CHECKPOINTS", ROOT / "checkpoints"))
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONTEXT = 32
CAPTIONS = 4  # captions per picture
FACTS = sorted({fact for world in WORLDS.values() for fact in world.facts})
"""Everything that a picture of any world may show: what the auxiliary heads read."""

_FACT_INDEX = {fact: index for index, fact in enumerate(FACTS)}
_MEANINGS = 24  # (token, fact) pairs kept per caption
_PAIRS = 10**7


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer of all worlds: lower-case, no punctuation, end-of-text has the highest id."""
    words = sorted({word for world in WORLDS.values() for word in world.vocabulary})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<bos>", *words, "<eos>"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"[^a-z\s]"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        special_tokens=[("<bos>", vocabulary["<bos>"]), ("<eos>", vocabulary["<eos>"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=CONTEXT,
    )


@dataclass(frozen=True)
class Pictures:
    """Pictures of one world, n of them.

    Args:
        images: (n, 64, 64, 3) uint8.
        shown: (n, f) 0/1, facts of the picture.
        tokens: (n, 4, 32) caption tokens.
        said: (n, 4, f) 0/1, facts of the caption.
        meanings: (n, 4, m, 2) pairs (token, fact): what the phrase that ends at a token says; -1 where unused.
    """

    images: np.ndarray
    shown: np.ndarray
    tokens: np.ndarray
    said: np.ndarray
    meanings: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def load(source: str, split: str, count: int) -> Pictures:
    """The first `count` pictures of a split, rendered on the first call.

    Args:
        source: name of a world, or "NAME-portraits": its classes in turn, also those that its splits lack, or
            "scenes-pairs": scenes of two different objects, which alone show relations.
        split: "train", "validation" or "test".
        count: how many.
    """
    folder = CHECKPOINTS / "data" / source / split
    files = {name: folder / f"{name}.npy" for name in Pictures.__dataclass_fields__}
    if not all(path.exists() and len(np.load(path, mmap_mode="r")) >= count for path in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        edges = [*range(0, count, 1000), count]
        jobs = [(source, split, a, b) for a, b in itertools.pairwise(edges)]
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            parts = list(pool.map(_draw, *zip(*jobs, strict=True)))
        for name, path in files.items():
            partial = path.with_suffix(f".{os.getpid()}.npy")
            np.save(partial, np.concatenate([part[name] for part in parts]))
            partial.replace(path)
    return Pictures(**{name: np.load(path, mmap_mode="r")[:count] for name, path in files.items()})


def _draw(source: str, split: str, start: int, stop: int) -> dict[str, np.ndarray]:
    name, _, kind = source.partition("-")
    world, ids = WORLDS[name], build_tokenizer().get_vocab()
    columns: dict[str, list[Any]] = {column: [] for column in Pictures.__dataclass_fields__}
    for index in range(start, stop):
        if kind == "pairs":  # other pictures than those of "scenes" with the same numbers
            rng = world.rng(split, _PAIRS + index)
            picture = scene.sample(rng, kind="pair")
        else:
            rng = world.rng(split, index)
            label = world.classes[index % len(world.classes)] if kind == "portraits" else None
            picture = world.portrait(label, rng) if label else world.sample(rng)
        captions = [world.describe(picture, rng) for _ in range(CAPTIONS)]
        tokens = np.full((CAPTIONS, CONTEXT), ids["<pad>"], dtype=np.int16)
        meanings = np.full((CAPTIONS, _MEANINGS, 2), -1, dtype=np.int16)
        for row, pairs, caption in zip(tokens, meanings, captions, strict=True):
            line = [ids["<bos>"], *(ids[word] for word in caption.words), ids["<eos>"]]
            row[: len(line)] = line
            said = [(at + 1, _FACT_INDEX[fact]) for at, facts in caption.meanings.items() for fact in facts]
            if said:
                pairs[: len(said)] = said
        columns["images"].append(world.render(picture))
        columns["shown"].append(_as_vector(world.shown(picture)))
        columns["tokens"].append(tokens)
        columns["said"].append(np.stack([_as_vector(caption.facts) for caption in captions]))
        columns["meanings"].append(meanings)
    return {column: np.stack(rows) for column, rows in columns.items()}


def _as_vector(facts: frozenset[str]) -> np.ndarray:
    vector = np.zeros(len(FACTS), dtype=np.uint8)
    vector[[_FACT_INDEX[fact] for fact in facts]] = 1
    return vector


@dataclass(frozen=True)
class Batch:
    """Pictures of several worlds with one caption each, on the device; fields as in `Pictures`, images in [-1, 1]."""

    images: Tensor
    shown: Tensor
    tokens: Tensor
    said: Tensor
    meanings: Tensor


class Mixture:
    """Draws batches from several worlds.

    Args:
        worlds: weight of each source, see `load`.
        count: training pictures per source.
        alone: share of batches that come from one source alone.
    """

    def __init__(self, worlds: Mapping[str, float], count: int, alone: float = 0.0) -> None:
        self.parts = [load(name, "train", count) for name in worlds]
        self.weights = torch.tensor([float(weight) for weight in worlds.values()])
        self.count, self.alone = count, alone

    def rows(self, size: int, generator: torch.Generator) -> list[np.ndarray]:
        """Rows of each world that make up one batch of `size`."""
        which = torch.multinomial(self.weights, size, replacement=True, generator=generator)
        if self.alone and torch.rand((), generator=generator) < self.alone:
            which = which[:1].expand(size)
        rows = torch.randint(self.count, (size,), generator=generator)
        return [rows[which == part].numpy() for part in range(len(self.parts))]

    def batch(self, size: int, generator: torch.Generator) -> Batch:
        """A random batch."""
        rows = self.rows(size, generator)
        caption = torch.randint(CAPTIONS, (size,), generator=generator).numpy()
        captions = np.split(caption, np.cumsum([len(part) for part in rows])[:-1])

        def gather(column: Callable[[Pictures, np.ndarray, np.ndarray], np.ndarray]) -> Tensor:
            parts = [column(*one) for one in zip(self.parts, rows, captions, strict=True)]
            return torch.from_numpy(np.concatenate(parts)).to(DEVICE)

        return Batch(
            images=to_tensor(
                np.concatenate([part.images[r] for part, r in zip(self.parts, rows, strict=True)])
            ),
            shown=gather(lambda part, r, c: part.shown[r]).float(),
            tokens=gather(lambda part, r, c: part.tokens[r, c]).long(),
            said=gather(lambda part, r, c: part.said[r, c]).float(),
            meanings=gather(lambda part, r, c: part.meanings[r, c]).long(),
        )


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 pictures (n, 64, 64, 3) as floats (n, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1.0
