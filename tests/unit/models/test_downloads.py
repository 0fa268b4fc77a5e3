"""Downloaded weights are the bytes that were meant, whenever they are used, and are never unpickled."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from guidebench.errors import WeightsError
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.downloads import cached_file
from guidebench.models.readers.classifiers import TorchvisionClassifier
from guidebench.models.readers.perceptual import PretrainedLPIPS

ADDRESS = "https://nowhere.example/a/net.pt"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What each address answers, in place of the network: tensors or bytes; `asked` lists the requests."""
    content: dict[str, Any] = {"asked": []}

    def download(address: str, path: str, sha256: str | None) -> None:
        content["asked"].append(address)
        if isinstance(content[address], bytes):
            Path(path).write_bytes(content[address])
        else:
            torch.save(content[address], path)
        if sha256 and not sha256_of(Path(path)).startswith(sha256):  # as torch.hub does
            Path(path).unlink()
            raise RuntimeError("invalid hash value")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return content


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((1, 1), value), "bias": torch.zeros(1)}


def value(address: str, sha256: str | None = None) -> float:
    layer = Checkpoint(address, {"in_features": 1, "out_features": 1}, sha256).build(nn.Linear, torch.float32)
    return float(layer.weight)  # type: ignore[arg-type]


def replace(path: Path, change: Callable[[bytearray], None]) -> None:
    """Other bytes of the same size, with the times of the old ones."""
    before, content = path.stat(), bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(content: bytearray) -> None:
    content[len(content) // 2] ^= 1


def test_addresses_with_the_same_end_have_their_own_files(served: dict[str, Any]) -> None:
    addresses = [ADDRESS, ADDRESS.replace("/a/", "/b/"), f"{ADDRESS}?version=2"]
    for i, address in enumerate(addresses):
        served[address] = state(float(i))
    for _ in range(2):
        assert [value(address) for address in addresses] == [0.0, 1.0, 2.0]
    assert served["asked"] == addresses
    assert all(cached_file(address).suffix == ".pt" for address in addresses)


@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_with_another_checksum_is_refused_also_when_it_lies_there(
    served: dict[str, Any], digits: int
) -> None:
    served[ADDRESS] = state(1.0)
    value(ADDRESS)
    path = cached_file(ADDRESS)
    checksum = sha256_of(path)[:digits]
    assert value(ADDRESS, checksum) == 1.0
    assert Checkpoint(ADDRESS, {}, checksum).fingerprint() == f"sha256:{checksum}"
    replace(path, flip)
    for use in (lambda: value(ADDRESS, checksum), lambda: Checkpoint(ADDRESS, {}, checksum).fingerprint()):
        with pytest.raises(
            WeightsError, match=f"has the SHA-256 {sha256_of(path)}, and {checksum} is expected"
        ):
            use()
    path.unlink()
    served[ADDRESS] = b"something else"
    with pytest.raises(WeightsError, match="invalid hash value"):
        value(ADDRESS, checksum)
    assert not path.exists()


def test_without_a_checksum_the_first_one_is_held(served: dict[str, Any]) -> None:
    served[ADDRESS] = state(1.0)
    checkpoint = Checkpoint(ADDRESS, {})
    assert checkpoint.fingerprint() == ADDRESS and not served["asked"]  # known before a download
    assert value(ADDRESS) == 1.0 and checkpoint.fingerprint() == ADDRESS
    replace(cached_file(ADDRESS), flip)
    for use in (checkpoint.fingerprint, lambda: value(ADDRESS)):
        with pytest.raises(WeightsError, match="delete it, and it is fetched again"):
            use()
    assert served["asked"] == [ADDRESS]


def test_the_fingerprint_is_of_the_bytes_wherever_they_come_from() -> None:
    other = ADDRESS.replace("/a/", "/mirror/")
    known = [Checkpoint(address, {}, "ab" * 32).fingerprint() for address in (ADDRESS, other)]
    unknown = [Checkpoint(address, {}).fingerprint() for address in (ADDRESS, other)]
    assert len(set(known)) == 1 and len(set(unknown)) == 2


def test_a_local_file_is_held_against_its_checksum_too(tmp_path: Path) -> None:
    torch.save(state(3.0), tmp_path / "net.pt")
    checksum = sha256_of(tmp_path / "net.pt")
    assert value(str(tmp_path / "net.pt"), checksum) == 3.0
    with pytest.raises(WeightsError, match="is expected"):
        value(str(tmp_path / "net.pt"), "0" * 64)


@pytest.mark.parametrize("checksum", ["", "abc", "g" * 64, "0" * 65])
def test_what_is_no_checksum_is_refused(served: dict[str, Any], checksum: str) -> None:
    with pytest.raises(WeightsError, match="is no checksum; give 8 to 64 hexadecimal digits"):
        value(ADDRESS, checksum)


class Unsafe:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


@pytest.fixture
def resnet(served: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, str]:
    """A network in place of torchvision's, with the address and checksum that its published weights would have."""
    torch.manual_seed(0)
    network = models.resnet18().eval()
    return network, models.ResNet18_Weights.IMAGENET1K_V1.url


def test_torchvisions_weights_are_held_against_the_checksum_of_their_address(
    served: dict[str, Any], resnet: tuple[nn.Module, str]
) -> None:
    _, url = resnet
    classifier = TorchvisionClassifier("resnet18", "IMAGENET1K_V1")
    assert classifier.fingerprint() == "sha256:f37072fd"  # what torchvision publishes
    served[url] = resnet[0].state_dict()
    with pytest.raises(WeightsError, match="invalid hash value"):
        classifier.logits(torch.rand(1, 3, 224, 224))
    path = cached_file(url)
    torch.save(served[url], path)
    with pytest.raises(WeightsError, match="and f37072fd is expected"):
        classifier.logits(torch.rand(1, 3, 224, 224))


def test_torchvisions_weights_are_not_unpickled(
    served: dict[str, Any], resnet: tuple[nn.Module, str], capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    network, url = resnet
    monkeypatch.setattr("guidebench.models.downloads.verify", lambda *words: None)
    cached_file(url).parent.mkdir(parents=True)
    torch.save({"fc.weight": Unsafe()}, cached_file(url))
    classifier = TorchvisionClassifier("resnet18", "IMAGENET1K_V1")
    with pytest.raises(WeightsError, match="pickled objects are refused"):
        classifier.logits(torch.rand(1, 3, 224, 224))
    assert "unpickled" not in capsys.readouterr().out
    torch.save(network.state_dict(), cached_file(url))
    images = torch.rand(1, 3, 256, 256)
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    torch.testing.assert_close(classifier.logits(images), network(preset(images)))


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_reads_torchvisions_features(
    served: dict[str, Any], net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lpips = pytest.importorskip("lpips")
    monkeypatch.setattr("guidebench.models.downloads.verify", lambda *words: None)
    torch.manual_seed(0)
    name = {"alex": "alexnet", "squeeze": "squeezenet1_1"}[net]
    network = models.get_model(name).eval()
    url = models.get_model_weights(name)["IMAGENET1K_V1"].url
    cached_file(url).parent.mkdir(parents=True)
    torch.save(network.state_dict(), cached_file(url))
    distance = PretrainedLPIPS(net)  # type: ignore[arg-type]
    images, others = torch.rand(2, 2, 3, 64, 64)
    expected = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    for slice_name, layers in expected.net.named_children():
        if slice_name.startswith("slice"):
            for index, layer in layers.named_children():
                layer.load_state_dict(network.features[int(index)].state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            distance(images, others), expected(images, others, normalize=True).flatten()
        )
    assert not served["asked"]
