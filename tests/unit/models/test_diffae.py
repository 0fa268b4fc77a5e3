"""DiffAE: the published layout, the formula of its residual block, and an adapter that reads its Lightning file."""

import collections
import hashlib
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, group_norm, linear, silu

from guidebench.diffusion.grids import Linspace
from guidebench.errors import ConfigError, WeightsError
from guidebench.methods.base import Setup
from guidebench.models.base import Guided
from guidebench.models.diffae import DiffAE
from guidebench.models.networks.adm_blocks import ResBlock
from guidebench.models.networks.diffae_unet import AutoencoderUNet
from guidebench.problems import Picture
from guidebench.runner.compose import compose_config
from guidebench.samplers.base import sample
from guidebench.samplers.ddim import DDIM

SMALL: dict[str, Any] = {
    "image_size": 16,
    "model_channels": 8,
    "z_channels": 6,
    "num_res_blocks": 1,
    "channel_mult": [1, 2],
    "encoder_channel_mult": [1, 2, 2],
    "attention_resolutions": [8],
    "num_head_channels": 16,
    "num_groups": 4,
}


def published() -> dict[str, Any]:
    config = compose_config(["model=diffae_ffhq256", "suite=random"])["model"]
    return dict(config["architecture"])


@pytest.fixture(scope="module")
def model() -> DiffAE:
    made = DiffAE("tiny", SMALL, random_weights=True)
    made.load("cpu")
    return made


def images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_the_published_network_has_its_tensors() -> None:
    with torch.device("meta"):
        network = AutoencoderUNet(**published())
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert len(shapes) == 706
    assert sum(math.prod(shape) for shape in shapes.values()) == 168_492_291
    encoder = sum(math.prod(shape) for key, shape in shapes.items() if key.startswith("encoder."))
    assert encoder == 30_150_400
    assert shapes["time_embed.time_embed.2.weight"] == (512, 512)
    assert shapes["input_blocks.1.0.cond_emb_layers.1.weight"] == (128, 512)
    assert shapes["output_blocks.14.1.out_layers.3.weight"] == (128, 128, 3, 3)
    # names and shapes of `model.state_dict()` in phizaz/diffae at 00c57d3, one "key shape" a line, sorted
    listing = "\n".join(f"{key} {shapes[key]}" for key in sorted(shapes))
    digest = hashlib.sha256(listing.encode()).hexdigest()
    assert digest == "b2f1197bca1e1eb6a000b21fcd4ce0ce97dc705fc2579eb21b545339b8c03b04"


def test_the_code_scales_after_the_time_has_scaled_and_shifted() -> None:
    torch.manual_seed(0)
    block = ResBlock(8, 5, 12, scale_shift=True, dropout=0.5, groups=4, z_channels=7).double().eval()
    nn.init.normal_(block.out_layers[3].weight)
    x, time, z = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((8, 4, 4), (5,), (7,)))
    state = block.state_dict()

    def layer(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    h = conv2d(silu(group_norm(x, 4, *layer("in_layers.0"))), *layer("in_layers.2"), padding=1)
    scale, shift = linear(silu(time), *layer("emb_layers.1")).split(12, dim=1)
    code = linear(silu(z), *layer("cond_emb_layers.1"))
    h = group_norm(h, 4, *layer("out_layers.0"))
    h = (h * (1 + scale[..., None, None]) + shift[..., None, None]) * (1 + code[..., None, None])
    h = conv2d(silu(h), *layer("out_layers.3"), padding=1)
    expected = conv2d(x, *layer("skip_connection")) + h
    torch.testing.assert_close(block(x, torch.cat([time, z], 1)), expected)


def test_prediction_depends_on_every_input_and_rows_do_not_mix(model: DiffAE) -> None:
    x, z = torch.randn(3, 3, 16, 16), model.semantic(images(3))
    assert z.shape == (3, 6) and z.std() > 0
    eps = model.eps(x, 500.0, z)
    assert not torch.allclose(eps, model.eps(x, 10.0, z))
    assert not torch.allclose(eps, model.eps(x, 500.0, z.flip(0)))
    torch.testing.assert_close(model.eps(x[1:2], 500.0, z[1:2]), eps[1:2])


def test_gradients_reach_noise_code_and_picture(model: DiffAE) -> None:
    pictures, x = images(1).requires_grad_(), torch.randn(1, 3, 16, 16, requires_grad=True)
    z = model.semantic(pictures)
    grads = torch.autograd.grad(model.eps(x, 300.0, z).square().sum(), [x, z, pictures])
    assert all(grad.abs().max() > 0 for grad in grads)


def test_encoding_is_undone_by_sampling_as_the_steps_grow_fine(model: DiffAE) -> None:
    pictures = images(1, seed=1)
    z, x0 = model.semantic(pictures), model.encode(pictures)
    errors = []
    for n_steps in (100, 400):
        sampler = DDIM(n_steps=n_steps, grid=Linspace())
        times = sampler.times(model.schedule)
        up, down = (sampler.chain(model.schedule, times=t) for t in (times[::-1], times))
        with torch.no_grad():
            (x_T,) = sample(up, model.eps, up.init(x0), cond=z)
            (again,) = sample(down, model.eps, down.init(x_T), cond=z)
        errors.append(float((again - x0).square().mean().sqrt()))
    assert errors[1] < 0.4 * errors[0]  # the error is of first order in the step


def test_conditions_are_the_codes_of_pictures(model: DiffAE) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    pictures = [Picture(f"p{i}", lambda i=i: drawn[i]) for i in range(2)]
    expected = model.semantic(torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(model.condition(pictures), expected)
    with pytest.raises(ConfigError, match="16 x 16 pixels, wide has 20 x 16"):
        model.condition([Picture("wide", lambda: np.zeros((16, 20, 3), np.uint8))])


def test_there_is_no_null_condition(model: DiffAE) -> None:
    z, x = model.semantic(images(1)), torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(Guided(model, 1.0)(x, 5.0, z), model.eps(x, 5.0, z))
    with pytest.raises(ConfigError, match="no null condition"):
        Guided(model, 4.0)(x, 5.0, z)
    with pytest.raises(ConfigError, match="for a semantic code z only"):
        model.eps(x, 5.0, None)


def test_a_lightning_file_is_read_by_its_prefix_and_nothing_in_it_runs(
    model: DiffAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = types.ModuleType("a_program_that_is_not_installed")

    class Callback:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return exec, ("raise AssertionError('code of the file ran')",)

    class Config(dict):  # type: ignore[type-arg]
        pass

    for kind in (Callback, Config):
        kind.__module__, kind.__qualname__ = program.__name__, kind.__name__
        setattr(program, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, program.__name__, program)
    network = model.modules["unet"].state_dict()
    state = collections.OrderedDict({f"ema_model.{key}": value for key, value in network.items()})
    state |= {f"model.{key}": torch.zeros_like(value) for key, value in network.items()} | {
        "x_T": torch.ones(2)
    }
    path = tmp_path / "last.ckpt"
    torch.save(
        {
            "state_dict": state,
            "callbacks": {Callback: Callback()},
            "hyper_parameters": Config(a=1),
            "epoch": 3,
        },
        path,
    )
    monkeypatch.delitem(sys.modules, program.__name__)
    loaded = DiffAE(str(path), SMALL, prefix="state_dict.ema_model.")
    loaded.load("cpu")
    x, z = torch.randn(1, 3, 16, 16), model.semantic(images(1))
    assert torch.equal(loaded.eps(x, 7.0, z), model.eps(x, 7.0, z))
    assert torch.equal(loaded.semantic(images(1)), z)
    with pytest.raises(WeightsError, match=r"no tensor whose key starts with 'state_dict\.net\.'"):
        DiffAE(str(path), SMALL, prefix="state_dict.net.").load("cpu")
    with pytest.raises(WeightsError, match=r"unexpected \(such as ema_model\."):
        DiffAE(str(path), SMALL, prefix="state_dict.").load("cpu")


def test_a_setup_conditions_on_the_field_of_the_problem(model: DiffAE) -> None:
    from dataclasses import dataclass

    from guidebench.problems import Problem

    @dataclass(frozen=True)
    class Rebuild(Problem):
        image: Picture

    picture = Picture("p", lambda: np.full((16, 16, 3), 90, np.uint8))
    found = Setup(model).condition([Rebuild("a", 0, picture)])
    torch.testing.assert_close(found, model.condition([picture]))


@pytest.mark.slow
def test_published_sizes_run() -> None:
    model = DiffAE("diffae", published(), random_weights=True)
    model.load("cpu")
    picture = torch.rand(1, 3, 256, 256)
    z = model.semantic(picture)
    eps = model.eps(torch.randn(1, 3, 256, 256), 999.0, z)
    assert z.shape == (1, 512) and eps.shape == (1, 3, 256, 256)
    assert bool(torch.isfinite(eps).all()) and eps.std() > 1e-3
