from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, silu, softmax

from guidebench.errors import ConfigError, WeightsError
from guidebench.models.base import Guided
from guidebench.models.mdm import MDM
from guidebench.models.networks.mdm_transformer import MotionTransformer, positions
from guidebench.models.readers.clip import CLIP
from guidebench.motion.representation import recover_joints

SMALL = {"width": 32, "layers": 2, "heads": 4, "feed_forward": 16, "text_width": 8}


@pytest.fixture
def model(clip_directories: dict[str, str]) -> MDM:
    clip = CLIP(directory=clip_directories["guide"])
    made = MDM("tiny", clip, frames=6, architecture=SMALL | {"text_width": width(clip)}, random_weights=True)
    made.load("cpu")
    return made


def width(clip: CLIP) -> int:
    return clip.encode_text(["a"]).shape[1]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- network -----------------------------------------------------------------------------------------------------------


def test_layout_and_size_of_the_published_network(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "conf/model/mdm.yaml").read_text())["architecture"]
    with torch.device("meta"):
        network = MotionTransformer(**config)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert sum(p.numel() for p in network.parameters()) == 17_880_327
    for name, shape in {
        "input_process.poseEmbedding.weight": (512, 263),
        "seqTransEncoder.layers.0.self_attn.in_proj_weight": (1536, 512),
        "seqTransEncoder.layers.7.self_attn.out_proj.bias": (512,),
        "seqTransEncoder.layers.3.linear1.weight": (1024, 512),
        "seqTransEncoder.layers.3.norm2.weight": (512,),
        "embed_timestep.time_embed.0.weight": (512, 512),
        "embed_timestep.time_embed.2.bias": (512,),
        "embed_text.weight": (512, 512),
        "output_process.poseFinal.weight": (263, 512),
    }.items():
        assert shapes[name] == shape
    assert len(shapes) == 8 * 12 + 10


def test_positions_alternate_sine_and_cosine() -> None:
    got = positions(torch.tensor([0.0, 3.0]), 4)
    torch.testing.assert_close(got[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(
        got[1], torch.tensor([np.sin(3), np.cos(3), np.sin(0.03), np.cos(0.03)]).float(), atol=1e-6, rtol=1e-5
    )


def test_forward_equals_a_transformer_written_out() -> None:
    torch.manual_seed(0)
    net = MotionTransformer(features=5, **SMALL).double().eval()
    weights: dict[str, Any] = dict(net.named_parameters())
    x, text = noise(1, 3, 5).double(), noise(1, 8).double()

    def linear(h: Tensor, name: str) -> Tensor:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    time = positions(torch.tensor([7.0]), 32).double()
    time = linear(silu(linear(time, "embed_timestep.time_embed.0")), "embed_timestep.time_embed.2")
    h = torch.cat([time + linear(text, "embed_text"), linear(x[0], "input_process.poseEmbedding")])
    h = h + positions(torch.arange(4), 32).double()
    for i in range(2):
        name = f"seqTransEncoder.layers.{i}"
        qkv = h @ weights[f"{name}.self_attn.in_proj_weight"].T + weights[f"{name}.self_attn.in_proj_bias"]
        q, k, v = (part.unflatten(1, (4, 8)).transpose(0, 1) for part in qkv.chunk(3, dim=1))
        mixed = (softmax(q @ k.transpose(1, 2) / 8**0.5, dim=-1) @ v).transpose(0, 1).flatten(1)
        h = h + linear(mixed, f"{name}.self_attn.out_proj")
        h = layer_norm(h, (32,), weights[f"{name}.norm1.weight"], weights[f"{name}.norm1.bias"])
        h = h + linear(gelu(linear(h, f"{name}.linear1")), f"{name}.linear2")
        h = layer_norm(h, (32,), weights[f"{name}.norm2.weight"], weights[f"{name}.norm2.bias"])
    expected = linear(h[1:], "output_process.poseFinal")
    torch.testing.assert_close(net(x, torch.tensor([7.0]), text)[0], expected)


# -- adapter -----------------------------------------------------------------------------------------------------------


def test_eps_belongs_to_the_predicted_motion(model: MDM) -> None:
    x, cond = noise(2, 6, 263), model.condition(["a red circle", "two"])
    eps, t = model.eps(x, 400, cond), 400
    clean = model.modules["transformer"](x, torch.tensor([400.0, 400.0]), cond)
    rebuilt = model.schedule.alpha(t) * clean + model.schedule.sigma(t) * eps
    torch.testing.assert_close(rebuilt, x, rtol=1e-4, atol=1e-5)


def test_the_null_prompt_is_zero_and_prompts_matter(model: MDM) -> None:
    cond = model.condition(["", "a red circle", "two"])
    assert not cond[0].any() and cond[1].any() and not torch.equal(cond[1], cond[2])
    x = noise(1, 6, 263)
    assert torch.equal(model.eps(x, 9, None), model.eps(x, 9, cond[:1]))
    assert not torch.allclose(model.eps(x, 9, cond[1:2]), model.eps(x, 9, cond[:1]))
    guided = Guided(model, 2.5)
    guided(x, 9, cond[1:2])
    assert guided.cost.nfe_fwd == 2


def test_text_features_are_raw_and_truncated(clip_directories: dict[str, str]) -> None:
    clip = CLIP(directory=clip_directories["guide"])
    raw = clip.text_features(["a red circle"])
    assert not torch.allclose(raw.norm(dim=1), torch.ones(1))
    torch.testing.assert_close(raw / raw.norm(dim=1, keepdim=True), clip.encode_text(["a red circle"]))
    short = clip.text_features(["a red circle", "a red square"], max_tokens=3)
    assert torch.equal(short[0], short[1]) and not torch.equal(short[0], raw[0])


def test_decoded_are_joints_in_metres_and_their_features(model: MDM) -> None:
    x0 = noise(2, 6, 263).requires_grad_()
    motions = model.decode(x0)
    assert motions.shape == (2, 6, 329) and model.sample_shape == (6, 263) and model.kind == "motion"
    torch.testing.assert_close(motions[..., :66], recover_joints(x0).flatten(2))
    torch.testing.assert_close(model.encode(motions), x0)
    (gradient,) = torch.autograd.grad(motions[:, -1, [0, 2]].square().sum(), x0)
    assert (gradient[:, :-1, 1:3].abs().amax((0, 2)) > 0).all()


def test_weights_and_statistics_from_files(model: MDM, tmp_path: Path) -> None:
    state = dict(model.modules["transformer"].state_dict())
    table = torch.zeros(5000, 1, 32)
    extra = {"sequence_pos_encoder.pe": table, "embed_timestep.sequence_pos_encoder.pe": table}
    torch.save(state | extra | {"clip_model.visual": table}, tmp_path / "model.pt")
    mean, std = np.linspace(-1, 1, 263), np.linspace(1, 2, 263)
    np.save(tmp_path / "Mean.npy", mean)
    np.save(tmp_path / "Std.npy", std)
    architecture = SMALL | {"text_width": width(model.clip)}
    loaded = MDM(str(tmp_path / "model.pt"), model.clip, str(tmp_path), 6, architecture)
    loaded.load("cpu")
    x, cond = noise(1, 6, 263), model.condition(["two"])
    assert torch.equal(loaded.eps(x, 30, cond), model.eps(x, 30, cond))
    features = x * torch.from_numpy(std).float() + torch.from_numpy(mean).float()
    torch.testing.assert_close(loaded.decode(x)[..., :66], recover_joints(features).flatten(2))
    torch.testing.assert_close(loaded.decode(x)[..., 66:], features)
    torch.testing.assert_close(loaded.encode(loaded.decode(x)), x)
    before = loaded.fingerprint()
    np.save(tmp_path / "Std.npy", np.zeros(263))
    assert loaded.fingerprint() != before
    np.save(tmp_path / "Std.npy", np.zeros(251))
    again = MDM(str(tmp_path / "model.pt"), model.clip, str(tmp_path), 6, architecture)
    with pytest.raises(WeightsError, match=r"Std\.npy has the shape \(251,\)"):
        again.load("cpu")
    (tmp_path / "Mean.npy").unlink()
    with pytest.raises(WeightsError, match=r"Mean\.npy is missing"):
        again.load("cpu")


def test_what_is_missing_is_told(model: MDM) -> None:
    with pytest.raises(ConfigError, match="frames=197"):
        MDM("tiny", model.clip, frames=197)
    with pytest.raises(WeightsError, match=r"model\.statistics"):
        MDM("tiny", model.clip).fingerprint()
    with pytest.raises(WeightsError, match="not loaded"):
        MDM("tiny", model.clip, architecture=SMALL, random_weights=True).eps(noise(1, 6, 263), 1, None)


def test_half_precision_keeps_the_interface_in_single(model: MDM) -> None:
    half = MDM("tiny", model.clip, frames=6, architecture=SMALL, random_weights=True, dtype="bfloat16")
    half.load("cpu")
    assert half.eps(noise(1, 6, 263), 500, None).dtype == torch.float32
