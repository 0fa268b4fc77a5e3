from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate, normalize

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError, WeightsError
from guidebench.losses.clip_text import ClipText
from guidebench.metrics.clip_score import ClipScore
from guidebench.models import weights
from guidebench.models.readers.clip import CLIP, _load
from guidebench.problems import TextToImage
from tiny_models import make_clip_directory

TEXTS = ["a red circle", "two blue squares"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_clip_directory(tmp_path_factory.mktemp("clip")))


def test_constructing_loads_nothing() -> None:
    loaded = _load.cache_info().misses
    clip = CLIP(architecture="ViT-g-14", pretrained="laion2b_s12b_b42k")
    assert clip.network_id == "clip:ViT-g-14/laion2b_s12b_b42k"
    assert clip.fingerprint() and _load.cache_info().misses == loaded


def test_equal_settings_share_one_network(directory: str) -> None:
    first, second = CLIP(directory=directory), CLIP(directory=directory)
    assert _load(first).module is _load(second).module
    assert _load(first).module is not _load(CLIP(directory=directory, precision="fp64")).module


def test_embeddings_are_unit_vectors(directory: str) -> None:
    clip = CLIP(directory=directory)
    for embeddings in (clip.encode_image(torch.rand(2, 3, 16, 16)), clip.encode_text(TEXTS)):
        assert embeddings.shape == (2, 12) and embeddings.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(2))
    assert not torch.equal(*clip.encode_text(TEXTS))


def test_weights_are_frozen_and_collect_no_gradient(directory: str) -> None:
    clip = CLIP(directory=directory)
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    clip.encode_image(images)[:, 0].sum().backward()
    module = _load(clip).module
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not module.training
    assert all(not p.requires_grad and p.grad is None for p in module.parameters())
    assert not clip.encode_text(TEXTS).requires_grad


def test_image_gradient_against_finite_differences(directory: str) -> None:
    problems = [TextToImage("case", 0, TEXTS[0], "Colors")]
    clip = CLIP(directory=directory, precision="fp64")

    def loss(images: torch.Tensor) -> torch.Tensor:
        return ClipText(clip, n_crops=3).bind(problems, RandomStreams(problems))(images).sum()

    images, direction = (
        0.1 + 0.8 * torch.rand(1, 3, 24, 24, dtype=torch.float64),
        torch.randn(1, 3, 24, 24).double(),
    )
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    difference = (loss(images + 1e-5 * direction) - loss(images - 1e-5 * direction)) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-6)


def test_pixels_get_the_networks_own_statistics_unless_told(directory: str, tmp_path: Path) -> None:
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    other = str(make_clip_directory(tmp_path, mean=0.1))
    images = torch.rand(2, 3, 16, 16)
    statistics = {
        CLIP(directory=directory): ([0.5] * 3, [0.25] * 3),
        CLIP(directory=other): ([0.1] * 3, [0.25] * 3),
        CLIP(directory=other, normalisation="openai"): (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
    }
    for clip, (mean, std) in statistics.items():
        pixels = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        expected = normalize(_load(clip).module.encode_image(pixels), dim=-1)
        torch.testing.assert_close(clip.encode_image(images), expected)


def test_other_sizes_are_resized_with_antialiased_bicubic(directory: str) -> None:
    clip = CLIP(directory=directory)
    images = torch.rand(2, 3, 40, 40)
    small = interpolate(images, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(clip.encode_image(images), clip.encode_image(small), atol=1e-5, rtol=1e-4)
    assert clip.encode_image(torch.rand(1, 3, 40, 60)).shape == (1, 12)


def test_score_against_open_clip_itself(directory: str) -> None:
    import open_clip

    module = open_clip.create_model(f"local-dir:{directory}").eval()
    tokens = open_clip.tokenizer.HFTokenizer(f"{directory}/tokenizer", context_length=6)(TEXTS)
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        u, v = module.encode_image((images - 0.5) / 0.25), module.encode_text(tokens)
    expected = 100 * torch.nn.functional.cosine_similarity(u, v).clamp(min=0)
    problems = [TextToImage(f"case-{i}", 0, text, "Colors") for i, text in enumerate(TEXTS)]
    score = ClipScore(CLIP(directory=directory)).evaluate(images, problems)
    torch.testing.assert_close(score, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_activation_follows_what_the_weights_declare(tmp_path: Path, quick_gelu: bool) -> None:
    from open_clip.transformer import QuickGELU

    directory = str(make_clip_directory(tmp_path, quick_gelu=quick_gelu))
    for setting in (None, quick_gelu):
        kinds = {type(m) for m in _load(CLIP(directory=directory, quick_gelu=setting)).module.modules()}
        assert (QuickGELU in kinds) == quick_gelu and (torch.nn.GELU in kinds) != quick_gelu
    with pytest.raises(WeightsError, match=f"trained with quick_gelu={quick_gelu}"):
        CLIP(directory=directory, quick_gelu=not quick_gelu).encode_text(TEXTS)


def test_a_setting_against_openais_quickgelu_is_refused_before_any_download() -> None:
    with pytest.raises(WeightsError, match="trained with quick_gelu=True"):
        CLIP(architecture="ViT-L-14", pretrained="openai", quick_gelu=False).encode_text(TEXTS)


def test_both_names_of_openais_network_are_one_network() -> None:
    names = {
        CLIP(architecture=name, pretrained="openai").network_id for name in ("ViT-L-14", "ViT-L-14-quickgelu")
    }
    assert len(names) == 1


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone(directory: str) -> None:
    clip = CLIP(directory=directory, random_weights=True)
    state = torch.get_rng_state()
    first = clip.encode_text(TEXTS)
    _load.cache_clear()
    assert torch.equal(first, clip.encode_text(TEXTS))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, CLIP(directory=directory).encode_text(TEXTS))
    assert "random" in clip.network_id


def test_fingerprint_changes_with_the_weights(tmp_path: Path, directory: str) -> None:
    other = make_clip_directory(tmp_path, seed=1)
    before = CLIP(directory=str(other)).fingerprint()
    assert before != CLIP(directory=directory).fingerprint()
    make_clip_directory(tmp_path, seed=2)
    assert before != CLIP(directory=str(other)).fingerprint()


def test_truncated_weights_are_refused_in_words(tmp_path: Path) -> None:
    file = make_clip_directory(tmp_path) / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="truncated"):
        CLIP(directory=str(tmp_path)).encode_text(TEXTS)


@pytest.mark.parametrize("missing", ["open_clip_model.safetensors", "open_clip_config.json", "tokenizer"])
def test_missing_parts_are_named(tmp_path: Path, missing: str) -> None:
    make_clip_directory(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=missing):
        CLIP(directory=str(tmp_path)).encode_text(TEXTS)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    config = make_clip_directory(tmp_path) / "open_clip_config.json"
    config.write_text(config.read_text().replace('"embed_dim": 12', '"embed_dim": 10'))
    with pytest.raises(WeightsError, match="could not be loaded"):
        CLIP(directory=str(tmp_path)).encode_text(TEXTS)


def test_relative_paths_are_below_the_packages_weights() -> None:
    with pytest.raises(WeightsError, match="guidebench/weights/embedded/nowhere"):
        weights.resolve("embedded/nowhere")


def test_a_pointer_file_is_not_weights(tmp_path: Path) -> None:
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        weights.resolve(str(pointer))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either architecture or directory"),
        ({"architecture": "ViT-B-32", "directory": "x"}, "either architecture or directory"),
        ({"architecture": "ViT-B-32"}, "pretrained is not set"),
        ({"directory": "x", "normalisation": "imagenet"}, "'own', 'openai'"),
        ({"directory": "x", "precision": "int8"}, "fp32"),
    ],
)
def test_wrong_settings_are_refused_in_words(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CLIP(**settings)  # type: ignore[arg-type]


def test_an_unknown_tag_is_refused() -> None:
    with pytest.raises(WeightsError, match="list_pretrained"):
        CLIP(architecture="ViT-B-32", pretrained="nobody").encode_text(TEXTS)
