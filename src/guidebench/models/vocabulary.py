"""What a tokenizer cannot read, told once: words that it does not know, ends of texts that are too long, code."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guidebench.errors import WeightsError

_log = logging.getLogger(__name__)
_SHOWN = 40
_told: set[tuple[object, str]] = set()
"""Vocabulary and word, or model, limit and text, of every warning of this process."""


def unknown_words(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Words of the texts that a word-level tokenizer maps to its unknown token, sorted.

    Tokenizers of pieces of words (BPE, sentencepiece) can spell every word: for them there are none.

    Args:
        tokenizer: of transformers.
        texts: any.
    """
    from tokenizers.models import WordLevel

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if tokenizer.unk_token_id is None or backend is None or not isinstance(backend.model, WordLevel):
        return []
    found = set()
    for text in texts:
        encoding = backend.encode(text, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        found |= {text[a:b].lower() for token, (a, b) in spans if token == tokenizer.unk_token_id}
    return sorted(found)


def warn_of_unknown_words(tokenizer: Any, texts: Sequence[str], model: str, listed_in: str) -> None:
    """Warn of the words that a model cannot read; of each word once, also where models share a vocabulary.

    Args:
        tokenizer: of transformers.
        texts: what the model is about to read.
        model: names the model.
        listed_in: where its vocabulary can be read.
    """
    words = unknown_words(tokenizer, texts)
    if not words:
        return
    vocabulary = hash(frozenset(tokenizer.get_vocab()))
    new = [word for word in words if (vocabulary, word) not in _told]
    _told.update((vocabulary, word) for word in new)
    if new:
        _log.warning(
            "%s does not know %s: each is read as %s, like any other unknown word. The %d words that it knows are "
            "listed in %s.",
            model,
            ", ".join(repr(word) for word in new[:_SHOWN])
            + (f" and {len(new) - _SHOWN} other words" if len(new) > _SHOWN else ""),
            tokenizer.unk_token,
            len(tokenizer) - len(tokenizer.all_special_ids),
            listed_in,
        )


def warn_of_cut_texts(lengths: Sequence[int], limit: int, texts: Sequence[str], model: str) -> None:
    """Warn of the texts whose ends a model does not read; of each once.

    Args:
        lengths: tokens of each text, with those of its start and end.
        limit: tokens that the model reads.
        texts: what the model is about to read.
        model: names the model.
    """
    cut = {text: n for text, n in zip(texts, lengths, strict=True) if n > limit}
    new = {text: n for text, n in cut.items() if ((model, limit), text) not in _told}
    _told.update(((model, limit), text) for text in new)
    if new:
        shown = [f"{_begin(text)!r} ({n})" for text, n in list(new.items())[:_SHOWN]]
        _log.warning(
            "%s reads %d tokens, start and end among them; %d of %d texts have more, and their ends are cut: %s.",
            model,
            limit,
            len(new),
            len(set(texts)),
            ", ".join(shown) + (f" and {len(new) - _SHOWN} other texts" if len(new) > _SHOWN else ""),
        )


def refuse_code(directory: Path) -> None:
    """See that a tokenizer brings no code of its own, which transformers would ask to run.

    Args:
        directory: of its files.

    Raises:
        WeightsError: its configuration has an `auto_map`.
    """
    for name in ("tokenizer_config.json", "config.json"):
        try:
            config = json.loads((directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # absent, or refused by transformers in its words
        if isinstance(config, dict) and "auto_map" in config:
            raise WeightsError(
                f"{directory / name} names code to run (auto_map: {config['auto_map']!r}), which is never run; give a "
                "tokenizer of transformers without it."
            )


def _begin(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
