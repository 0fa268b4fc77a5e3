"""Layout and mathematics of ADM's networks, against the published checkpoints' known facts and plain formulas."""

import math

import pytest
import torch

from guidebench.errors import ConfigError
from guidebench.models.networks.adm_unet import (
    AttentionBlock,
    AttentionPool,
    EncoderUNet,
    UNet,
    time_features,
)

PUBLISHED = {"image_size": 256, "channel_mult": (1, 1, 2, 2, 4, 4)}
SMALL = {"image_size": 16, "model_channels": 32, "channel_mult": (1, 2), "num_head_channels": 32}
SMALL |= {"num_res_blocks": 1, "attention_resolutions": (8,)}


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def awake(module: torch.nn.Module) -> torch.nn.Module:
    """Random numbers in the layers that start at zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return module


@pytest.fixture(scope="module")
def published() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(UNet(model_channels=256, out_channels=6, **PUBLISHED))


def test_the_published_unconditional_network_has_its_number_of_parameters(
    published: dict[str, tuple[int, ...]],
) -> None:
    # 2,211,383,297 bytes of float32 and some headers is the size of 256x256_diffusion_uncond.pt
    assert sum(math.prod(shape) for shape in published.values()) == 552_814_086


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("time_embed.0.weight", (1024, 256)),
        ("time_embed.2.bias", (1024,)),
        ("input_blocks.0.0.weight", (256, 3, 3, 3)),
        ("input_blocks.3.0.in_layers.2.weight", (256, 256, 3, 3)),  # a downsampling block
        ("input_blocks.7.0.skip_connection.weight", (512, 256, 1, 1)),
        ("input_blocks.10.1.qkv.weight", (1536, 512, 1)),  # 32 x 32 has attention,
        ("input_blocks.17.1.proj_out.weight", (1024, 1024, 1)),  # as has 8 x 8
        ("middle_block.1.norm.weight", (1024,)),
        ("middle_block.2.emb_layers.1.weight", (2048, 1024)),
        ("output_blocks.0.0.in_layers.0.weight", (2048,)),
        ("output_blocks.2.2.out_layers.3.weight", (1024, 1024, 3, 3)),  # an upsampling block
        ("output_blocks.17.0.out_layers.0.bias", (256,)),
        ("out.0.weight", (256,)),
        ("out.2.weight", (6, 256, 3, 3)),
    ],
)
def test_published_layout(published: dict[str, tuple[int, ...]], key: str, shape: tuple[int, ...]) -> None:
    assert published[key] == shape


def test_no_key_beyond_the_published_ones(published: dict[str, tuple[int, ...]]) -> None:
    heads = {key.split(".")[0] for key in published}
    assert heads == {"time_embed", "input_blocks", "middle_block", "output_blocks", "out"}
    assert "input_blocks.9.1.qkv.weight" not in published  # no attention where the map is 64 x 64
    blocks = {tuple(key.split(".")[:2]) for key in published}
    assert [sum(name == part for name, _ in blocks) for part in ("input_blocks", "output_blocks")] == [18, 18]


def test_layout_of_the_published_classifier() -> None:
    with torch.device("meta"):
        found = shapes(EncoderUNet(model_channels=128, out_channels=1000, **PUBLISHED))
    assert found["out.2.positional_embedding"] == (512, 65)
    assert found["out.2.qkv_proj.weight"] == (1536, 512, 1)
    assert found["out.2.c_proj.weight"] == (1000, 512, 1)
    assert found["middle_block.1.qkv.bias"] == (1536,)
    assert sum(math.prod(shape) for shape in found.values()) == 54_096_360


def test_published_sizes_pass_through_the_networks() -> None:
    with torch.device("meta"):
        images, times = torch.empty(1, 3, 256, 256), torch.empty(1)
        assert UNet(model_channels=256, out_channels=6, **PUBLISHED)(images, times).shape == (1, 6, 256, 256)
        classifier = EncoderUNet(model_channels=128, out_channels=1000, **PUBLISHED)
        assert classifier(images, times).shape == (1, 1000)


def test_resampling_by_convolution_and_labels_have_their_keys() -> None:
    found = shapes(UNet(**SMALL, resblock_updown=False, use_scale_shift_norm=False, num_classes=7))
    assert found["input_blocks.2.0.op.weight"] == (32, 32, 3, 3)
    assert found["output_blocks.1.2.conv.weight"] == (64, 64, 3, 3)
    assert found["label_emb.weight"] == (7, 128)
    assert found["middle_block.0.emb_layers.1.weight"] == (64, 128)


def test_time_features_are_those_of_the_transformer_paper() -> None:
    got = time_features(torch.tensor([3.0]), 4)[0].double()
    w = 10_000**-0.5
    expected = [math.cos(3), math.cos(3 * w), math.sin(3), math.sin(3 * w)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_attention_gives_each_head_one_run_of_q_k_v() -> None:
    block = awake(AttentionBlock(64, head_channels=32, groups=32)).double()
    x = torch.randn(2, 64, 3, 5, dtype=torch.float64)
    flat = x.reshape(2, 64, 15)
    qkv = block.qkv(block.norm(flat))
    heads = []
    for head in range(2):
        q, k, v = (qkv[:, 96 * head + 32 * i : 96 * head + 32 * (i + 1)] for i in range(3))
        weights = torch.softmax(q.transpose(1, 2) @ k / 32**0.5, dim=-1)  # (b, query, key)
        heads.append(v @ weights.transpose(1, 2))
    expected = flat + block.proj_out(torch.cat(heads, dim=1))
    torch.testing.assert_close(block(x), expected.reshape(x.shape))


def test_the_new_attention_order_is_thirds_of_q_k_v() -> None:
    """Against torch's attention, whose projections are thirds."""
    block = awake(AttentionBlock(64, head_channels=32, groups=32, thirds=True)).double()
    x = torch.randn(2, 64, 3, 5, dtype=torch.float64)
    reference = torch.nn.MultiheadAttention(64, 2, batch_first=True, dtype=torch.float64)
    state = {"in_proj_weight": block.qkv.weight[..., 0], "in_proj_bias": block.qkv.bias}
    state |= {"out_proj.weight": block.proj_out.weight[..., 0], "out_proj.bias": block.proj_out.bias}
    reference.load_state_dict(state)
    flat = x.reshape(2, 64, 15)
    tokens = block.norm(flat).transpose(1, 2)
    expected = flat + reference(tokens, tokens, tokens)[0].transpose(1, 2)
    torch.testing.assert_close(block(x), expected.reshape(x.shape))


CHECKPOINTS = {  # flags of the released sampling commands; millions of parameters of the paper's Table 1
    64: (
        dict(model_channels=192, num_res_blocks=3, channel_mult=(1, 2, 3, 4), use_new_attention_order=True),
        296,
    ),
    128: (dict(model_channels=256, channel_mult=(1, 1, 2, 3, 4), num_heads=4), 422),
    256: (dict(model_channels=256, channel_mult=(1, 1, 2, 2, 4, 4)), 554),
}


@pytest.mark.parametrize("side", CHECKPOINTS)
def test_the_published_conditional_networks(side: int) -> None:
    flags, millions = CHECKPOINTS[side]
    with torch.device("meta"):
        network = UNet(image_size=side, out_channels=6, num_classes=1000, **flags)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == millions
    attention = [module for module in network.modules() if isinstance(module, AttentionBlock)]
    assert {module.thirds for module in attention} == {side == 64}
    heads = {(module.qkv.in_channels, module.heads) for module in attention}
    assert heads == ({(c, 4) for c in (512, 768, 1024)} if side == 128 else {(c, c // 64) for c, _ in heads})


def test_order_and_heads_change_what_the_same_weights_answer() -> None:
    plain = awake(UNet(**SMALL | {"num_head_channels": 16})).double()
    x, times = torch.randn(1, 3, 16, 16, dtype=torch.float64), torch.zeros(1)
    outs = [plain(x, times)]
    for change in ({"use_new_attention_order": True}, {"num_heads": 2}, {"num_heads": 1}):
        other = UNet(**SMALL | {"num_head_channels": 16} | change).double()
        other.load_state_dict(plain.state_dict())
        outs.append(other(x, times))
    assert all(not torch.allclose(a, b) for i, a in enumerate(outs) for b in outs[:i])


def test_attention_pool_equals_the_first_token_of_full_attention() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(side=3, channels=64, head_channels=16, out_channels=5).double()
    x = torch.randn(2, 64, 3, 3, dtype=torch.float64)
    tokens = x.flatten(2)
    tokens = torch.cat([tokens.mean(-1, keepdim=True), tokens], dim=-1) + pool.positional_embedding
    reference = torch.nn.MultiheadAttention(64, 4, batch_first=True, dtype=torch.float64)
    state = {
        "in_proj_weight": pool.qkv_proj.weight[..., 0],
        "in_proj_bias": pool.qkv_proj.bias,
        "out_proj.weight": torch.eye(64, dtype=torch.float64),
        "out_proj.bias": torch.zeros(64, dtype=torch.float64),
    }
    reference.load_state_dict(state)
    sequence = tokens.transpose(1, 2)
    expected = (
        reference(sequence, sequence, sequence)[0][:, 0] @ pool.c_proj.weight[..., 0].T + pool.c_proj.bias
    )
    torch.testing.assert_close(pool(x), expected)


@pytest.mark.parametrize("resblock_updown", [True, False])
@pytest.mark.parametrize("scale_shift", [True, False])
def test_shapes_and_row_independence(resblock_updown: bool, scale_shift: bool) -> None:
    net = awake(UNet(**SMALL, resblock_updown=resblock_updown, use_scale_shift_norm=scale_shift)).double()
    x, times = torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0.0, 500.0, 999.0])
    out = net(x, times)
    assert out.shape == (3, 3, 16, 16)
    torch.testing.assert_close(net(x[1:2], times[1:2]), out[1:2])
    assert not torch.allclose(net(x, times + 100), out)


def test_the_output_starts_at_zero() -> None:
    assert not UNet(**SMALL)(torch.randn(1, 3, 16, 16), torch.zeros(1)).any()


def test_labels_matter_and_are_required() -> None:
    net = awake(UNet(**SMALL, num_classes=4))
    x, times = torch.randn(1, 3, 16, 16), torch.zeros(1)
    assert not torch.allclose(net(x, times, torch.tensor([0])), net(x, times, torch.tensor([1])))
    with pytest.raises(ConfigError, match="without labels"):
        net(x, times)
    with pytest.raises(ConfigError, match="with labels"):
        UNet(**SMALL)(x, times, torch.tensor([0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_channels": 24}, "multiples of num_groups=32"),
        ({"image_size": 15}, "cannot be halved"),
        ({"num_head_channels": 48}, "does not divide"),
        ({"num_heads": 3}, "num_heads=3 does not divide"),
    ],
)
def test_bad_sizes_are_refused_in_words(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UNet(**{**SMALL, **change})
