from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, layer_norm, leaky_relu

from guidebench.errors import ConfigError, WeightsError
from guidebench.metrics.motion import TextMotionDistance
from guidebench.models.networks.text_motion_match import TextMotionMatch
from guidebench.models.readers.motion_evaluator import TAGS, MotionEvaluator
from guidebench.problems import MotionControl

TOKENS = {"a person walks": "a/DET person/NOUN walk/Act_VIP", "jog": "jog/Act_VIP"}


@pytest.fixture(scope="module")
def evaluator() -> MotionEvaluator:
    return MotionEvaluator("tiny", TOKENS, random_weights=True)


def motions(frames: int = 10, width: int = 329) -> Tensor:
    return torch.randn(2, frames, width, generator=torch.Generator().manual_seed(0))


def test_layout_of_the_published_networks() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in TextMotionMatch().state_dict().items()}
    for name, shape in {
        "movement_encoder.main.0.weight": (512, 259, 4),
        "movement_encoder.main.3.bias": (512,),
        "movement_encoder.out_net.weight": (512, 512),
        "text_encoder.pos_emb.weight": (300, 15),
        "text_encoder.input_emb.weight": (512, 300),
        "text_encoder.gru.weight_hh_l0_reverse": (1536, 512),
        "text_encoder.output_net.1.weight": (512,),
        "text_encoder.hidden": (2, 1, 512),
        "motion_encoder.input_emb.weight": (1024, 512),
        "motion_encoder.gru.weight_ih_l0": (3072, 1024),
        "motion_encoder.output_net.3.weight": (512, 1024),
        "motion_encoder.hidden": (2, 1, 1024),
    }.items():
        assert shapes[name] == shape
    assert len(shapes) == 6 + 2 + 2 * (2 + 8 + 6 + 1) and len(TAGS) == 15


def test_a_text_is_read_in_both_directions(evaluator: MotionEvaluator) -> None:
    weights: dict[str, Any] = dict(evaluator._network.text_encoder.named_parameters())
    words = [("sos", "OTHER"), ("jog", "Act_VIP"), ("eos", "OTHER")]
    tags = torch.eye(15)
    elements = torch.stack(
        [
            evaluator._vectors[w] + weights["pos_emb.weight"] @ tags[TAGS.index(t)] + weights["pos_emb.bias"]
            for w, t in words
        ]
    )
    x = elements @ weights["input_emb.weight"].T + weights["input_emb.bias"]
    last = []
    for direction, end in enumerate(("l0", "l0_reverse")):
        cell = torch.nn.GRUCell(512, 512)
        cell.load_state_dict(
            {name: weights[f"gru.{name}_{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )
        h = weights["hidden"][direction]
        for element in x if direction == 0 else x.flip(0):
            h = cell(element[None], h)
        last.append(h[0])
    h = torch.cat(last) @ weights["output_net.0.weight"].T + weights["output_net.0.bias"]
    h = leaky_relu(layer_norm(h, (512,), weights["output_net.1.weight"], weights["output_net.1.bias"]), 0.2)
    expected = h @ weights["output_net.3.weight"].T + weights["output_net.3.bias"]
    torch.testing.assert_close(
        evaluator.embed_text("jog", torch.device("cpu")), expected, rtol=1e-4, atol=1e-5
    )


def test_movements_are_of_four_frames_without_contacts(evaluator: MotionEvaluator) -> None:
    encoder = evaluator._network.movement_encoder
    seen = motions()[..., -263:-4]
    h = leaky_relu(conv1d(seen.transpose(1, 2), encoder.main[0].weight, encoder.main[0].bias, 2, 1), 0.2)
    h = leaky_relu(conv1d(h, encoder.main[3].weight, encoder.main[3].bias, 2, 1), 0.2)
    expected = encoder.out_net(h.transpose(1, 2))
    assert expected.shape == (2, 2, 512)
    expected = evaluator._network.motion_encoder(expected)
    torch.testing.assert_close(evaluator.embed_motions(motions()), expected)


def test_the_metric_is_the_distance(evaluator: MotionEvaluator) -> None:
    problems = [MotionControl(f"c{i}", 0, prompt, ((0.0, 1.0),)) for i, prompt in enumerate(TOKENS)]
    values = TextMotionDistance(evaluator).evaluate(motions(), problems)
    embedded = evaluator.embed_motions(motions())
    for row, prompt in enumerate(TOKENS):
        text = evaluator.embed_text(prompt, torch.device("cpu"))
        assert float(values[row]) == pytest.approx(float((embedded[row] - text).norm()), rel=1e-5)
    assert not values.requires_grad


def test_published_files_are_read(evaluator: MotionEvaluator, tmp_path: Path) -> None:
    nested: dict[str, Any] = {"epoch": 3, "opt_text_encoder": {"state": {}, "param_groups": [{"lr": 1.0}]}}
    for part in ("movement_encoder", "text_encoder", "motion_encoder"):
        nested[part] = getattr(evaluator._network, part).state_dict()
    torch.save(nested, tmp_path / "finest.tar")
    lines = [f"{word} {' '.join(map(repr, vector.tolist()))}" for word, vector in evaluator._vectors.items()]
    (tmp_path / "glove.txt").write_text("\n".join(["other 1 2", *lines]))
    np.save(tmp_path / "t2m_mean.npy", np.zeros(263))
    np.save(tmp_path / "t2m_std.npy", np.full(263, 2.0))
    files = (str(tmp_path / "finest.tar"), TOKENS, str(tmp_path / "glove.txt"), str(tmp_path))
    loaded = MotionEvaluator(*files)
    prompts = list(TOKENS)
    doubled = torch.cat([motions()[..., :-263], 2 * motions()[..., -263:]], dim=-1)
    torch.testing.assert_close(loaded.distances(doubled, prompts), evaluator.distances(motions(), prompts))
    before = loaded.fingerprint()
    np.save(tmp_path / "t2m_std.npy", np.ones(263))
    assert loaded.fingerprint() != before
    (tmp_path / "glove.txt").write_text("unk 1 2 3\n")
    with pytest.raises(WeightsError, match=r"glove\.6B\.300d"):
        MotionEvaluator(*files).distances(motions(), prompts)


def test_a_word_that_has_no_vector_counts_as_unknown(evaluator: MotionEvaluator) -> None:
    vector, tag = evaluator._word("zigzag", "NOUN")
    assert torch.equal(vector, evaluator._vectors["unk"]) and int(tag.argmax()) == TAGS.index("OTHER")


def test_what_cannot_be_measured_is_refused(evaluator: MotionEvaluator) -> None:
    with pytest.raises(ConfigError, match="knows no tokens of 'fly'"):
        evaluator.distances(motions(), ["fly", "jog"])
    with pytest.raises(ConfigError, match="choose model=mdm"):
        evaluator.distances(motions(width=3), list(TOKENS))
    with pytest.raises(ConfigError, match=r"allowed tags: VERB"):
        MotionEvaluator("t", {"jog": "jog/VRB"}, random_weights=True).distances(motions(), ["jog", "jog"])
    with pytest.raises(WeightsError, match=r"evaluator\.vectors: null"):
        MotionEvaluator("t", TOKENS).fingerprint()
