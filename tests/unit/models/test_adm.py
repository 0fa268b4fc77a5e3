import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from guidebench.errors import WeightsError
from guidebench.models.adm import ADM
from guidebench.models.base import Guided
from guidebench.models.networks.adm_unet import UNet

SMALL: dict[str, Any] = {
    "image_size": 16,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_head_channels": 32,
}
SMALL |= {"num_res_blocks": 1, "attention_resolutions": [8], "out_channels": 6}


@pytest.fixture(scope="module")
def model() -> ADM:
    made = ADM("tiny", SMALL, random_weights=True)
    made.load("cpu")
    return made


@pytest.fixture
def state(model: ADM) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.modules["unet"].state_dict().items()}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", ["directory", "file.safetensors", "file.pt"])
def test_saved_and_loaded_back_it_is_the_same(
    model: ADM, state: dict[str, Tensor], tmp_path: Path, layout: str
) -> None:
    if layout == "directory":
        (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL}))
        save_file(state, tmp_path / "model.safetensors")
        loaded = ADM(str(tmp_path))
    else:
        path = tmp_path / layout
        torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)
        loaded = ADM(str(path), SMALL)
    loaded.load("cpu")
    x = noise(2, 3, 16, 16)
    assert torch.equal(loaded.eps(x, 500, None), model.eps(x, 500, None))
    assert loaded.sample_shape == model.sample_shape == (3, 16, 16)
    assert loaded.fingerprint().startswith("sha256:")


def test_eps_is_the_first_half_of_the_output(model: ADM) -> None:
    x = noise(2, 3, 16, 16)
    raw = model.modules["unet"](x, torch.tensor([7.0, 7.0]))
    assert raw.shape == (2, 6, 16, 16) and raw[:, :3].abs().max() > 1e-3
    assert torch.equal(model.eps(x, 7, None), raw[:, :3])


def test_schedule_is_that_of_the_checkpoints(model: ADM) -> None:
    schedule = model.schedule
    ratio = [schedule.sigma(t) / schedule.alpha(t) for t in (0.0, 999.0)]
    assert ratio == pytest.approx([0.01, 157.4], rel=1e-3)


def test_the_cosine_schedule_is_that_of_improved_diffusion() -> None:
    schedule = ADM("tiny", SMALL, random_weights=True, noise_schedule="cosine").schedule
    bar = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert schedule.alpha(499) ** 2 == pytest.approx(bar, rel=1e-6)


def test_a_network_that_reads_a_class_is_refused() -> None:
    with pytest.raises(WeightsError, match="num_classes=1000: the network reads a class"):
        ADM("tiny", SMALL | {"num_classes": 1000}, random_weights=True).load("cpu")


def test_prompts_are_ignored_and_pixels_are_symmetric(model: ADM) -> None:
    x = noise(2, 3, 16, 16)
    guided = Guided(model, 1.0)
    assert torch.equal(guided(x, 3, model.condition(["a", "b"])), model.eps(x, 3, None))
    assert guided.cost.nfe_fwd == 1
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model.decode(model.encode(images)), images)
    assert torch.equal(model.encode(torch.zeros(1)), -torch.ones(1))


def test_gradients_reach_the_sample_and_no_weight(model: ADM) -> None:
    x = noise(1, 3, 16, 16).requires_grad_()
    model.eps(x, 500, None).square().sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in model.modules["unet"].parameters())


def test_half_precision_keeps_the_interface_in_single(model: ADM) -> None:
    half = ADM("tiny", SMALL, random_weights=True, dtype="bfloat16")
    half.load("cpu")
    x = noise(1, 3, 16, 16)
    out = half.eps(x, 500, None)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, model.eps(x, 500, None), rtol=0.05, atol=0.02)


def test_random_weights_are_the_same_every_time_and_leave_global_state_alone(model: ADM) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = ADM("tiny", SMALL, random_weights=True)
    again.load("cpu")
    assert torch.equal(torch.get_rng_state(), before)
    x = noise(1, 3, 16, 16)
    assert torch.equal(again.eps(x, 10, None), model.eps(x, 10, None))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: s.pop("out.2.weight"), r"1 missing \(such as out\.2\.weight\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected \(such as extra\)"),
        (lambda s: s.update({"out.2.bias": torch.zeros(3)}), r"1 of another shape \(such as out\.2\.bias\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_words(
    state: dict[str, Tensor], tmp_path: Path, damage: Any, words: str
) -> None:
    damage(state)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=words):
        ADM(str(tmp_path / "net.pt"), SMALL).load("cpu")


class Unsafe:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [Unsafe(), [1, 2], {"key": 3}])
def test_a_pickle_of_something_else_is_refused(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"net\.pt"):
        ADM(str(tmp_path / "net.pt"), SMALL).load("cpu")
    assert "unpickled" not in capsys.readouterr().out


def test_a_truncated_file_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "net.pt")
    (tmp_path / "net.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:-500])
    with pytest.raises(WeightsError, match=r"(?s)bytes\) cannot be read"):
        ADM(str(tmp_path / "net.pt"), SMALL).load("cpu")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no architecture is given"):
        ADM("tiny", random_weights=True).load("cpu")
    with pytest.raises(WeightsError, match="No weights at"):
        ADM(str(tmp_path / "nowhere"), SMALL).load("cpu")
    with pytest.raises(WeightsError, match=r"config\.json"):
        ADM(str(tmp_path)).load("cpu")
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    with pytest.raises(WeightsError, match="with the key 'architecture'"):
        ADM(str(tmp_path)).load("cpu")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL | {"widht": 3}}))
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        ADM(str(tmp_path)).load("cpu")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="widht"):
        ADM(str(tmp_path)).load("cpu")
    with pytest.raises(WeightsError, match="not loaded"):
        ADM("tiny", SMALL, random_weights=True).eps(noise(1, 3, 16, 16), 0, None)


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def refuse(*args: Any) -> None:
        asked.append(args)
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model = ADM("https://nowhere.example/net.pt", SMALL, sha256="ab12cd34")
    assert model.fingerprint() == "sha256:ab12cd34" and not asked
    with pytest.raises(WeightsError, match=r"no route to host.*random_weights=true"):
        model.load("cpu")
    assert [(words[0], words[2]) for words in asked] == [("https://nowhere.example/net.pt", "ab12cd34")]


def test_the_configured_architecture_is_the_published_one(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "conf/model/adm256.yaml").read_text())["architecture"]
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(**config).parameters()) == 552_814_086
