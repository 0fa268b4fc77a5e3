"""Recognisers: published layouts, channel order, resize, and agreement with ONNX through insightface."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import batch_norm, conv2d, interpolate, prelu

from guidebench.errors import ConfigError, WeightsError
from guidebench.models.networks.adaface_ir import AdaFaceIR, IRBlock
from guidebench.models.networks.iresnet import IResNet, IResNetBlock
from guidebench.models.readers.face_recognition import InsightfaceRecogniser, TorchRecogniser
from guidebench.runner.compose import compose_config

SMALL: dict[str, Any] = {"layers": [1, 2, 1, 1], "widths": [4, 8, 8, 8], "image_size": 24, "num_features": 12}
PUBLISHED = ("cosface_glint360k", "arcface_ms1mv3", "elasticface_ms1mv2", "adaface_ms1mv2")


def images(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def settings(name: str) -> dict[str, Any]:
    config = dict(
        compose_config([f"+recogniser@networks.recogniser={name}", "suite=random"])["networks"]["recogniser"]
    )
    assert config.pop("_target_").endswith("TorchRecogniser")
    return config


def listing(network: nn.Module) -> str:
    """SHA-256 of the sorted lines "key shape"."""
    lines = (f"{key} {tuple(value.shape)}" for key, value in sorted(network.state_dict().items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts(name: str) -> None:
    config = settings(name)
    with torch.device("meta"):
        network = {"iresnet": IResNet, "adaface_ir": AdaFaceIR}[config["network"]](**config["architecture"])
    parameters = sum(p.numel() for p in network.parameters())
    if config["network"] == "iresnet":
        # `iresnet100().state_dict()` of fdbtrs/ElasticFace, whose keys are those of insightface's arcface_torch
        assert len(network.state_dict()) == 925 and parameters == 65_156_160
        assert listing(network) == "dc48aa67c7449a7caf250153f36da2fc4a3288e632c3667206a7cda2a14b3842"
        assert not network.features.weight.requires_grad
    else:
        # `IR_101((112, 112)).state_dict()` of mk-minchul/AdaFace
        assert len(network.state_dict()) == 917 and parameters == 65_150_912
        assert listing(network) == "158339b02fa6756c994e7c44f3719b3b01000c8f2fdf8cf412691c304ed25b96"
    assert (config["channels"] == "bgr") == name.startswith("adaface")


def trained(network: nn.Module) -> nn.Module:
    """Running statistics and affine maps of norms that are not the identity; double precision, evaluation mode."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            if module.affine and module.weight.requires_grad:
                nn.init.uniform_(module.weight, 0.5, 2.0)
                nn.init.normal_(module.bias)
    return network.double().eval()


def norm(state: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    parts = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return batch_norm(x, *parts, eps=1e-5)


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (4, 2), (6, 2)])
def test_blocks_follow_the_formula_in_both_layouts(channels: int, stride: int) -> None:
    x = torch.randn(2, channels, 5, 5, dtype=torch.float64)
    for block, names, projection in (
        (IResNetBlock(channels, 4, stride), ("bn1", "conv1", "bn2", "prelu", "conv2", "bn3"), "downsample"),
        (IRBlock(channels, 4, stride), tuple(f"res_layer.{i}" for i in range(6)), "shortcut_layer"),
    ):
        state = trained(block).state_dict()
        first, conv1, second, activation, conv2, third = names
        h = conv2d(norm(state, first, x), state[f"{conv1}.weight"], padding=1)
        h = prelu(norm(state, second, h), state[f"{activation}.weight"])
        h = norm(state, third, conv2d(h, state[f"{conv2}.weight"], padding=1, stride=stride))
        if f"{projection}.0.weight" in state:
            skip = norm(state, f"{projection}.1", conv2d(x, state[f"{projection}.0.weight"], stride=stride))
        else:
            skip = x[:, :, ::stride, ::stride]
        torch.testing.assert_close(block(x), h + skip)
    assert (
        "downsample.0.weight" in IResNetBlock(4, 4, 2).state_dict()
    )  # IResNet projects wherever it strides,
    assert (
        "shortcut_layer.0.weight" not in IRBlock(4, 4, 2).state_dict()
    )  # AdaFace only where channels change


def recogniser(**changes: Any) -> TorchRecogniser:
    return TorchRecogniser(
        **{
            "source": "tiny",
            "network": "iresnet",
            "channels": "rgb",
            "architecture": SMALL,
            "random_weights": True,
        }
        | changes
    )


def test_embeddings_are_unit_vectors_and_similarity_is_their_cosine() -> None:
    found = recogniser()
    embeddings = found.embed(images(3, 24))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(embeddings, nn.functional.normalize(found.features(images(3, 24))))
    expected = torch.cosine_similarity(found.features(images(3, 24)), found.features(images(3, 24, seed=1)))
    torch.testing.assert_close(found.similarity(images(3, 24), images(3, 24, seed=1)), expected)


def test_blue_first_is_the_swapped_picture() -> None:
    red_first, blue_first = recogniser(network="adaface_ir"), recogniser(network="adaface_ir", channels="bgr")
    x = images(2, 24)
    torch.testing.assert_close(blue_first.embed(x), red_first.embed(x.flip(1)))
    assert (blue_first.embed(x) - red_first.embed(x)).abs().max() > 1e-3


@pytest.mark.parametrize("antialias", [False, True])
def test_other_sizes_are_resized_and_gradients_pass(antialias: bool) -> None:
    found = recogniser(antialias=antialias)
    x = images(1, 60).requires_grad_()
    expected = interpolate(x, (24, 24), mode="bilinear", antialias=antialias, align_corners=False)
    torch.testing.assert_close(found.embed(x), found.embed(expected))
    (grad,) = torch.autograd.grad(found.similarity(x, images(1, 60, seed=3)).sum(), x)
    # plain bilinear reads some pixels only; smoothing reads all
    assert (grad == 0).any() != antialias and grad.abs().max() > 0


def test_a_directory_says_what_it_holds(tmp_path: Path) -> None:
    network = AdaFaceIR(**SMALL)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"network": "adaface_ir", "channels": "bgr", "architecture": SMALL}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = TorchRecogniser(str(tmp_path))
    assert found.image_size == 24 and found.fingerprint().startswith("sha256:")
    x = images(2, 24)
    torch.testing.assert_close(found.features(x), network.eval()(2 * x.flip(1) - 1))
    (tmp_path / "config.json").write_text(json.dumps(config | {"channels": "grb"}))
    with pytest.raises(WeightsError, match=r"channels is 'grb'; set it .* to one of rgb, bgr"):
        TorchRecogniser(str(tmp_path)).embed(x)


def test_adaface_file_is_read_by_its_prefix(tmp_path: Path) -> None:
    network = AdaFaceIR(**SMALL)
    state = {f"model.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state | {"head.kernel": torch.zeros(2)}, "epoch": 25}, tmp_path / "ada.ckpt")
    arguments = {"source": str(tmp_path / "ada.ckpt"), "network": "adaface_ir", "random_weights": False}
    found = recogniser(**arguments, prefix="state_dict.model.")
    torch.testing.assert_close(found.features(images(2, 24)), network.eval()(2 * images(2, 24) - 1))
    with pytest.raises(WeightsError, match="unexpected"):
        recogniser(**arguments, prefix="state_dict.").embed(images(1, 24))


@pytest.fixture
def exported(tmp_path: Path) -> tuple[TorchRecogniser, Path]:
    """A recogniser and its export to ONNX."""
    pytest.importorskip("onnxscript")
    found = recogniser()
    network = found._loaded[0]
    path = tmp_path / "own.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 24, 24),),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    return found, path


def test_our_recogniser_gives_the_same_through_insightface(exported: tuple[TorchRecogniser, Path]) -> None:
    pytest.importorskip("insightface")
    ours, path = exported
    theirs = InsightfaceRecogniser(str(path))
    pictures = (images(3, 24) * 255).round() / 255
    others = (images(3, 24, seed=1) * 255).round() / 255
    torch.testing.assert_close(theirs.embed(pictures), ours.embed(pictures), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        theirs.similarity(pictures, others), ours.similarity(pictures, others), atol=1e-4, rtol=0
    )
    with pytest.raises(ConfigError, match="no gradients"):
        theirs.embed(pictures.requires_grad_())


def test_a_file_that_is_no_onnx_is_refused_in_words(tmp_path: Path) -> None:
    pytest.importorskip("insightface")
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(WeightsError, match="cannot be read as a recogniser in ONNX"):
        InsightfaceRecogniser(str(tmp_path / "broken.onnx")).embed(images(1, 24))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arcface_ms1mv3", "adaface_ms1mv2"])
def test_published_sizes_run(name: str) -> None:
    embeddings = TorchRecogniser(**settings(name)).embed(images(2, 256))
    assert embeddings.shape == (2, 512)
    assert 1e-3 < 1 - float(embeddings[0] @ embeddings[1]) < 2
