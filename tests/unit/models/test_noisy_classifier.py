import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate

from guidebench.errors import WeightsError
from guidebench.models.networks.adm_unet import EncoderUNet
from guidebench.models.readers.noisy_classifier import NoisyClassifier

CLASSES = ["cat", "dog", "owl"]
SMALL: dict[str, Any] = {
    "image_size": 16,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_head_channels": 32,
}
SMALL |= {"num_res_blocks": 1, "attention_resolutions": [8]}


@pytest.fixture
def classifier() -> NoisyClassifier:
    return NoisyClassifier("a/b.pt", CLASSES, SMALL, random_weights=True)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_it_gives_the_networks_logits_at_the_time_told(classifier: NoisyClassifier) -> None:
    x = noise(2, 3, 16, 16).requires_grad_()
    logits = classifier.noisy_logits(x, 30)
    module = classifier._load().module
    assert isinstance(module, EncoderUNet) and logits.shape == (2, 3)
    assert torch.equal(module(x, torch.tensor([30.0, 30.0])), logits)
    assert not torch.equal(classifier.noisy_logits(x, 900), logits)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    assert not any(p.requires_grad for p in module.parameters())


def test_clean_images_are_scaled_resized_and_nearly_without_noise(classifier: NoisyClassifier) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = classifier.noisy_logits(2 * images - 1, 1)
    torch.testing.assert_close(classifier.logits(images), expected)
    larger = interpolate(images, scale_factor=2, mode="nearest")
    assert classifier.logits(larger).shape == (2, 3)


def test_names_and_identities(classifier: NoisyClassifier) -> None:
    assert classifier.classes == tuple(CLASSES)
    assert classifier.network_id == "classifier:b (random weights)"
    assert classifier.fingerprint() != NoisyClassifier("a/c.pt", random_weights=True).fingerprint()
    names = NoisyClassifier("a/b.pt", "imagenet", SMALL, random_weights=True).classes
    assert len(names) == 1000 and names[0] == "tench"


def test_a_directory_brings_architecture_and_classes(classifier: NoisyClassifier, tmp_path: Path) -> None:
    save_file(classifier._load().module.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL, "classes": CLASSES}))
    loaded = NoisyClassifier(str(tmp_path))
    assert loaded.classes == tuple(CLASSES)
    x = noise(2, 3, 16, 16)
    assert torch.equal(loaded.noisy_logits(x, 5), classifier.noisy_logits(x, 5))
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL}))
    with pytest.raises(WeightsError, match="names no classes"):
        _ = NoisyClassifier(str(tmp_path)).classes


def test_the_configured_architecture_is_the_published_one(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "conf/classifier/adm256_noisy.yaml").read_text())
    with torch.device("meta"):
        module = EncoderUNet(**config["architecture"], out_channels=1000)
    assert sum(p.numel() for p in module.parameters()) == 54_096_360
