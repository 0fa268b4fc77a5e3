"""A classifier of other classes is refused before the first sample."""

from pathlib import Path

import pytest

from guidebench.errors import ConfigError
from guidebench.models.checkpoints import Checkpoint
from guidebench.runner.compose import compose_config
from guidebench.runner.experiment import Experiment
from guidebench.runner.job import Job

OTHERS = {
    "classifier@networks.judge_classifier=objects_judge": "metrics.*objects_judge: class 0 is",
    "classifier@networks.guide_classifier=birds_guide": "loss: .*birds_guide: class 0 is 'species",
}


@pytest.mark.parametrize("override", OTHERS)
def test_other_classes_are_refused_where_they_stand(tmp_path: Path, override: str) -> None:
    common = [
        "task=class_conditional",
        "method=lgd_mc",
        "loss=classifier",
        f"paths.results={tmp_path}",
        "device=cpu",
    ]
    Experiment(Job.from_config(compose_config(common)))
    with pytest.raises(ConfigError, match=OTHERS[override]):
        Experiment(Job.from_config(compose_config([*common, override])))


def test_the_published_classifiers_say_their_classes_without_their_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Checkpoint, "build", lambda *words: pytest.fail("loaded"))
    job = Job.from_config(compose_config(["task=class_conditional", "suite=full", "device=cpu"]))
    loss = job.build("loss")
    assert [len(reader.classes) for reader in loss.readers] == [1000]
