"""How well networks read pictures: CLIPs rank captions, classifiers name classes, heads predict pleasantness."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from guidebench.data.pleasantness import pleasantness
from guidebench.models.base import DiffusionModel
from guidebench.models.readers.aesthetic import AestheticHead
from guidebench.models.readers.classifiers import Classifier
from guidebench.models.readers.clip import CLIP
from guidebench.models.readers.noisy_classifier import NoisyClassifier
from guidebench.pixels import to_tensor
from guidebench.studies.zoo.estimates import Booleans, Floats
from guidebench.studies.zoo.pictures import Images, Pictures

Candidates = NDArray[np.intp]
_BATCH = 100


def candidates(pictures: Pictures, size: int, others_false: bool) -> Candidates | None:
    """For each picture its own caption, first, and `size - 1` captions of other pictures, no two of which say the same.

    Args:
        pictures: n of them.
        size: of each row.
        others_false: leave out captions of other pictures that are true of this one too, which are as right.

    Returns:
        (n, size) indices of captions; None where some picture has too few.
    """
    said = [caption.facts for caption in pictures.captions]
    different = list({facts: index for index, facts in enumerate(said)}.values())
    rows = []
    for own, shown in enumerate(pictures.shown):
        turned = sorted(different, key=lambda index: (index - own) % len(said))
        others = [i for i in turned if said[i] != said[own] and not (others_false and said[i] <= shown)]
        rows.append([own, *others[: size - 1]])
    return np.array(rows) if min(map(len, rows)) == size else None


@torch.no_grad()
def ranked_first(clip: CLIP, pictures: Pictures, among: Candidates) -> Booleans:
    """Whether each picture is nearest to its own caption, (n,).

    Args:
        clip: embeds both.
        pictures: n of them.
        among: from `candidates`.
    """
    parts = range(0, len(pictures.images), _BATCH)
    seen = torch.cat([clip.encode_image(to_tensor(pictures.images[k : k + _BATCH])) for k in parts])
    texts = [caption.text for caption in pictures.captions]
    said = torch.cat([clip.encode_text(texts[k : k + _BATCH]) for k in parts])
    cosines = (seen @ said.T).gather(1, torch.from_numpy(among)).numpy()
    right: Booleans = cosines[:, 0] > cosines[:, 1:].max(axis=1)
    return right


@torch.no_grad()
def named(classifier: Classifier, images: Images) -> list[str]:
    """The likeliest class of each image."""
    best = [
        classifier.logits(to_tensor(images[start : start + _BATCH])).argmax(dim=1)
        for start in range(0, len(images), _BATCH)
    ]
    return [classifier.classes[index] for index in torch.cat(best).tolist()]


@torch.no_grad()
def read_right(classifier: Classifier, pictures: Pictures, multilabel: bool) -> Booleans:
    """Whether each picture's class is named, (n,); of a multilabel world, whether each attribute is, (n, k)."""
    if not multilabel:
        names = named(classifier, pictures.images)
        return np.array([name in shown for name, shown in zip(names, pictures.shown, strict=True)])
    said = [
        classifier.logits(to_tensor(pictures.images[start : start + _BATCH])) > 0
        for start in range(0, len(pictures.images), _BATCH)
    ]
    true = np.array([[name in shown for name in classifier.classes] for shown in pictures.shown])
    right: Booleans = torch.cat(said).numpy() == true
    return right


_OPPOSITES = {"young": "old", "short hair": "long hair", "neutral": "smiling"}


@torch.no_grad()
def attributes_as_said(classifier: Classifier, images: Images, said: Sequence[frozenset[str]]) -> Booleans:
    """Whether each attribute that a caption says and the classifier knows is read so in its picture, (k,)."""
    logits = torch.cat(
        [
            classifier.logits(to_tensor(images[start : start + _BATCH]))
            for start in range(0, len(images), _BATCH)
        ]
    )
    right = []
    for row, facts in zip(logits, said, strict=True):
        for fact in sorted(facts & {*classifier.classes, *_OPPOSITES}):
            name = _OPPOSITES.get(fact, fact)
            right.append(bool(row[classifier.classes.index(name)] > 0) == (name == fact))
    return np.array(right)


@torch.no_grad()
def read_right_in_noise(
    classifier: NoisyClassifier, pictures: Pictures, model: DiffusionModel, t: int
) -> Booleans:
    """Whether each picture's class is named at noise level t of a model in pixel space, (n,)."""
    x0 = model.encode(to_tensor(pictures.images))
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(t))
    x_t = model.schedule.alpha(t) * x0 + model.schedule.sigma(t) * noise
    best = torch.cat([classifier.noisy_logits(part, t).argmax(dim=1) for part in x_t.split(_BATCH)])
    names = [classifier.classes[index] for index in best.tolist()]
    return np.array([name in shown for name, shown in zip(names, pictures.shown, strict=True)])


@torch.no_grad()
def predicted_pleasantness(head: AestheticHead, images: Images) -> tuple[Floats, Floats]:
    """The head's scores and the rule's, (n,) each."""
    scores = [
        head.score(to_tensor(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)
    ]
    return torch.cat(scores).double().numpy(), pleasantness(images)
