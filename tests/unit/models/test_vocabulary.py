"""Words outside a word-level vocabulary are told, once, and by every adapter that reads text."""

import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from guidebench.models import vocabulary
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.models.readers.clip import CLIP
from guidebench.models.vocabulary import unknown_words, warn_of_unknown_words
from guidebench.runner.compose import compose_config
from guidebench.runner.experiment import Experiment
from guidebench.runner.job import Job


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_told", set())


def tokenizer(*words: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(("<unk>", *words))}, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_unknown_words_are_those_that_are_not_in_the_list() -> None:
    known = {"a", "red", "circle"}
    texts = ["a Red circle", "A blue Zebra, a circle"]
    expected = sorted({w for t in texts for w in t.lower().replace(",", " , ").split()} - known)
    assert unknown_words(tokenizer(*known), texts) == expected == [",", "blue", "zebra"]
    assert unknown_words(tokenizer(*known), [""]) == []


def test_pieces_of_words_spell_everything(tiny_model: LatentDiffusion) -> None:
    assert unknown_words(tiny_model._parts["tokenizer"], ["a zxqwv", "<end_of_text>"]) == []


def test_each_word_is_told_once_per_vocabulary(caplog: pytest.LogCaptureFixture) -> None:
    for model in ("first", "second"):  # as the guiding and the scoring CLIP, which share a vocabulary
        warn_of_unknown_words(tokenizer("a", "dog"), ["a cat", "a dog"], model, "somewhere/tokenizer")
    (message,) = caplog.messages
    assert all(word in message for word in ("first", "'cat'", "<unk>", " 2 words", "somewhere/tokenizer"))
    assert "'dog'" not in message and "'a'" not in message
    warn_of_unknown_words(tokenizer("a"), ["a cat"], "third", "elsewhere")
    warn_of_unknown_words(tokenizer("a", "dog"), ["a cat and"], "first", "somewhere")
    assert [("'cat'" in m, "'and'" in m) for m in caplog.messages[1:]] == [(True, False), (False, True)]


def test_clip_and_text_to_image_warn_and_go_on(
    clip_directories: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    directory = clip_directories["guide"]
    assert CLIP(directory=directory).encode_text(["a red zebra"]).isfinite().all()
    assert "'zebra'" in caplog.text and f"{directory}/tokenizer" in caplog.text
    model = LatentDiffusion("embedded/text_to_image")
    model.load("cpu")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert model.condition(["a red circle", "a red xylophone"]).isfinite().all()
        model.condition(["a red xylophone", ""])
    (message,) = [m for m in caplog.messages if "does not know" in m]
    assert "'xylophone'" in message and message.endswith("embedded/text_to_image/tokenizer.")


def test_a_run_is_told_of_all_its_words_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("Prompt,Category\na red violin,x\na blue cello,x\na red circle,x\n")
    dataset = ["dataset=drawbench/full", f"dataset.source={prompts}", "dataset.categories=[x]"]
    overrides = [
        *dataset,
        "batch_size=1",
        "size=smoke",
        "n_steps=2",
        "sampler=ddim",
        "~metrics.prompt_success",
    ]
    job = Job.from_config(compose_config([*overrides, f"paths.results={tmp_path}", "device=cpu"]))
    experiment = Experiment(job)
    experiment.run(experiment.missing(), lambda records: None, wait=True)
    (message,) = [m for m in caplog.messages if "does not know" in m]
    assert "'cello', 'violin'" in message


def test_a_long_list_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    text = " ".join(f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh")
    warn_of_unknown_words(tokenizer("known"), [text], "model", "somewhere")
    assert "'ae'" in caplog.text and "'hh'" not in caplog.text and "and 24 other words" in caplog.text
