"""How well networks read pictures: CLIPs rank captions, classifiers name classes, heads predict pleasantness."""

from collections.abc import Sequence

import numpy as np
import torch

from guidebench.data.pleasantness import pleasantness
from guidebench.data.worlds.world import Caption
from guidebench.models.aesthetic import AestheticHead
from guidebench.models.classifiers import Classifier
from guidebench.models.clip import CLIP
from guidebench.pixels import to_tensor
from guidebench.studies.zoo.estimates import Booleans, Floats
from guidebench.studies.zoo.pictures import Images, Pictures

_BATCH = 100


def groups_of_different(captions: Sequence[Caption], size: int) -> list[list[int]]:
    """Disjoint groups of `size` captions of which no two say the same; by index, in order."""
    groups: list[list[int]] = [[]]
    said: set[frozenset[str]] = set()
    for index, caption in enumerate(captions):
        if caption.facts not in said:
            said.add(caption.facts)
            groups[-1].append(index)
        if len(groups[-1]) == size:
            groups.append([])
            said = set()
    return groups[:-1]


@torch.no_grad()
def ranked_first(clip: CLIP, pictures: Pictures, groups: Sequence[Sequence[int]]) -> Booleans:
    """Whether a picture's own caption is the nearest among those of its group, one entry per picture of each group."""
    right = []
    for group in groups:
        rows = list(group)
        seen = clip.encode_image(to_tensor(pictures.images[rows]))
        said = clip.encode_text([pictures.captions[row].text for row in rows])
        right.append((seen @ said.T).argmax(dim=1).numpy() == np.arange(len(rows)))
    return np.concatenate(right)


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


@torch.no_grad()
def predicted_pleasantness(head: AestheticHead, images: Images) -> tuple[Floats, Floats]:
    """The head's scores and the rule's, (n,) each."""
    scores = [
        head.score(to_tensor(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)
    ]
    return torch.cat(scores).double().numpy(), pleasantness(images)
