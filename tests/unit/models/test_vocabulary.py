"""Words outside a word-level vocabulary are told, once, and by every adapter that reads text."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from guidebench.errors import WeightsError
from guidebench.models import vocabulary
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.models.readers.clip import CLIP
from guidebench.models.vocabulary import unknown_words, warn_of_cut_texts, warn_of_unknown_words
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


def test_texts_whose_ends_are_cut_are_told_once_and_by_name(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["a fox", "a fox " * 20, "a hen " * 20, "a fox " * 20]
    for _ in range(2):
        warn_of_cut_texts([4, 42, 43, 42], 22, texts, "model")
    (message,) = caplog.messages
    assert "reads 22 tokens" in message and "2 of 3 texts have more" in message
    assert f"'{('a fox ' * 20)[:40]}…' (42), '{('a hen ' * 20)[:40]}…' (43)" in message
    warn_of_cut_texts([42], 41, texts[1:2], "model")
    warn_of_cut_texts([42], 22, texts[1:2], "another")
    assert len(caplog.messages) == 3, "another limit, another model"
    warn_of_cut_texts([22, 1], 22, ["just fits", ""], "model")
    assert len(caplog.messages) == 3


def test_every_adapter_tells_what_it_cuts(
    clip_directories: dict[str, str], tiny_model: LatentDiffusion, caplog: pytest.LogCaptureFixture
) -> None:
    long, fits = "a red circle " * 5, "a red circle"
    adapters = {
        "6 tokens": lambda texts: CLIP(directory=clip_directories["guide"]).encode_text(texts),
        "16 tokens": tiny_model.check_prompts,
        "77 tokens": lambda texts: CLIP("ViT-B-32", random_weights=True).check_texts(
            [text * 10 for text in texts]
        ),
    }
    for words, read in adapters.items():
        caplog.clear()
        read([fits])
        assert "cut" not in caplog.text
        read([fits, long])
        (message,) = [m for m in caplog.messages if "cut" in m]
        assert words in message and "1 of 2 texts" in message and "a red circle a red" in message


def test_the_number_of_tokens_is_the_tokenizers(
    tiny_model: LatentDiffusion, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model.check_prompts(["a " * 14])  # start and end make sixteen
    assert not caplog.messages
    tiny_model.check_prompts(["a " * 15])
    assert "(17)" in caplog.text


def test_a_clip_whose_tokenizer_brings_code_is_refused_without_asking(
    clip_directories: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked"))
    shutil.copytree(clip_directories["guide"], tmp_path / "clip")
    path = tmp_path / "clip" / "tokenizer" / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["code.Own", None]}})
    )
    with pytest.raises(WeightsError, match="names code to run"):
        CLIP(directory=str(tmp_path / "clip")).encode_text(["a"])
