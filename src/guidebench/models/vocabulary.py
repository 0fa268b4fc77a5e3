"""Words that a tokenizer does not know, told once."""

import logging
from collections.abc import Sequence
from typing import Any

_log = logging.getLogger(__name__)
_SHOWN = 40
_told: set[tuple[int, str]] = set()
"""Vocabulary and word of every warning of this process."""


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
