"""The networks of faces: recognisers on persons that they were not trained on, and the diffusion autoencoder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from guidebench.data.worlds.faces.people import IDENTITY
from guidebench.data.worlds.faces.world import FACES, GALLERY_SIZE, Subject
from guidebench.diffusion.grids import Linspace
from guidebench.models.diffae import DiffAE
from guidebench.models.readers.face_recognition import FaceRecogniser, match_threshold
from guidebench.pixels import to_tensor, to_uint8
from guidebench.samplers.base import sample
from guidebench.samplers.ddim import DDIM
from guidebench.studies.zoo.drawing import psnr
from guidebench.studies.zoo.estimates import Bar, Booleans, Floats, Measured, jackknife, mean, rate
from guidebench.studies.zoo.pictures import Images, Pictures, held_out

FALSE_MATCH_RATE = 1e-3
ENOUGH = 2
"""Judges, of the three, that must see the same person."""

_STEPS = DDIM(n_steps=100, grid=Linspace())
_LIKENESS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Quantiles of the true distance of two persons between which pairs count as equally alike."""
_BATCH = 100


@dataclass(frozen=True)
class FaceModels:
    """The networks of faces.

    Args:
        autoencoder: the diffusion autoencoder; loaded when it is first measured.
        guide: the recogniser of identity losses.
        judges: the other recognisers by name.
    """

    autoencoder: DiffAE
    guide: FaceRecogniser
    judges: Mapping[str, FaceRecogniser]


def recognition(models: FaceModels, n: int) -> Iterator[Measured]:
    """True matches, neutral against smiling, and how far false matches of two judges are shared.

    Args:
        models: the recognisers.
        n: persons; their n (n - 1) cross pairs set the threshold.
    """
    subjects = [FACES.subject(GALLERY_SIZE + number) for number in range(1, n + 1)]
    neutral, smiling = _drawn(subjects)
    wrong: dict[str, Booleans] = {}
    for name, network in {"guide": models.guide, **models.judges}.items():
        cosines = _embedded(network, neutral) @ _embedded(network, smiling).T
        accepted = (cosines > match_threshold(_impostors(cosines), FALSE_MATCH_RATE)).numpy()
        yield Measured(
            f"{name}: true matches at 0.1 % false ones (%)", rate(accepted.diagonal()), Bar(at_least=99)
        )
        wrong[name] = accepted & ~np.eye(n, dtype=np.bool_)
    distance = likeness(subjects)
    for first, second in combinations(models.judges, 2):
        a, b = wrong[first], wrong[second]
        pair = f"{first} and {second}: false matches shared, over chance"
        yield Measured(pair, jackknife(partial(shared, a, b), n), Bar(at_most=3))
        yield Measured(
            f"{pair} among pairs as alike in truth",
            jackknife(partial(shared, a, b, distance=distance), n),
        )


def autoencoding(models: FaceModels, n: int) -> Iterator[Measured]:
    """Encoding and decoding, the person that the semantic code alone keeps, and what a linear head reads from it.

    Args:
        models: the autoencoder and its judges.
        n: pictures that are encoded, and persons; ten times as many fit the head.
    """
    model = models.autoencoder
    model.load("cpu")
    pictures = held_out(FACES, n)
    again = decoded(model, *encoded(model, pictures.images))
    yield Measured(
        "encoded and decoded in 100 steps each: PSNR (dB)",
        mean(psnr(pictures.images, again)),
        Bar(at_least=30),
    )

    gallery = FACES.gallery()
    neutral, smiling = _drawn(list(gallery))
    chosen = neutral[:n]
    x_T = torch.randn(len(chosen), *model.sample_shape, generator=torch.Generator().manual_seed(0))
    made = decoded(model, x_T, codes(model, chosen))
    same = {}
    for name, network in models.judges.items():
        cosines = _embedded(network, neutral) @ _embedded(network, smiling).T
        threshold = match_threshold(_impostors(cosines), FALSE_MATCH_RATE)
        own = (_embedded(network, made) * _embedded(network, chosen)).sum(1)
        same[name] = (own > threshold).numpy()
        yield Measured(f"the code with a random x_T: same person for {name} (%)", rate(same[name]))
    enough = np.sum(list(same.values()), axis=0) >= ENOUGH
    yield Measured(
        f"the code with a random x_T: same person for {ENOUGH} of {len(same)} (%)",
        rate(enough),
        Bar(at_least=90),
    )

    right = head_reads(model, _training(10 * n), held_out(FACES, 4 * n, start=n))
    yield Measured("attributes by a linear head on the code (%)", rate(right.ravel()), Bar(at_least=95))
    for name, column in zip(FACES.classes, right.T, strict=True):
        yield Measured(f"{name}, by a linear head on the code (%)", rate(column))


def shared(
    first: Booleans, second: Booleans, rows: npt.NDArray[np.intp], distance: Floats | None = None
) -> float:
    """False matches of both judges over their number if the two were independent.

    Args:
        first: false matches of one judge, (n, n).
        second: of the other.
        rows: persons that count.
        distance: true distance of each pair, (n, n): independent among pairs equally alike. None: among all.
    """
    pairs = ~np.eye(len(rows), dtype=np.bool_)
    a, b = (part[np.ix_(rows, rows)][pairs] for part in (first, second))
    if distance is None:
        kind = np.zeros(len(a), np.intp)
    else:
        far = distance[np.ix_(rows, rows)][pairs]
        kind = np.searchsorted(np.quantile(far, _LIKENESS[1:-1]), far)
    count, ones, others = (np.bincount(kind, weights) for weights in (None, a, b))
    expected = float((ones * others / np.maximum(count, 1)).sum())
    return float((a & b).sum()) / expected if expected else float("nan")


def likeness(subjects: list[Subject]) -> Floats:
    """True distance of every two persons, (n, n): of their identities, an attribute counting as a whole axis."""
    attributes = sorted({name for subject in subjects for name in subject.neutral.attributes})
    points = np.array(
        [
            [*subject.neutral.identity, *(2.0 * (name in subject.neutral.attributes) for name in attributes)]
            for subject in subjects
        ]
    )
    assert points.shape[1] == len(IDENTITY) + len(attributes)
    found: Floats = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    return found


@torch.no_grad()
def encoded(model: DiffAE, images: Images) -> tuple[Tensor, Tensor]:
    """x_T and semantic code of pictures: the sampler of `decoded` run backwards."""
    x0, z = model.encode(to_tensor(images)), codes(model, images)
    chain = _STEPS.chain(model.schedule, times=_times(model)[::-1])
    (x_T,) = sample(chain, model.eps, chain.init(x0), cond=z)
    return x_T, z


@torch.no_grad()
def decoded(model: DiffAE, x_T: Tensor, z: Tensor) -> Images:
    """Pictures from both codes."""
    chain = _STEPS.chain(model.schedule, times=_times(model))
    return to_uint8(model.decode(chain.output(sample(chain, model.eps, chain.init(x_T), cond=z))))


@torch.no_grad()
def codes(model: DiffAE, images: Images) -> Tensor:
    """Semantic codes (n, z)."""
    return torch.cat(
        [model.semantic(to_tensor(images[k : k + _BATCH])) for k in range(0, len(images), _BATCH)]
    )


def head_reads(model: DiffAE, training: Pictures, test: Pictures) -> Booleans:
    """Whether a logistic head on the codes, fitted to one set, names each class right in the other, (n, classes)."""
    z, target = codes(model, training.images), _classes(training)
    centre, scale = z.mean(0), z.std(0).clamp(min=1e-6)
    head = nn.Linear(z.shape[1], target.shape[1])
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = nn.functional.binary_cross_entropy_with_logits(head((z - centre) / scale), target)
        value = error + 1e-3 * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        logits = head((codes(model, test.images) - centre) / scale)
    right: Booleans = ((logits > 0) == (_classes(test) > 0)).numpy()
    return right


def _times(model: DiffAE) -> tuple[float, ...]:
    """The sampler's grid without a last step that moves nothing."""
    times = _STEPS.times(model.schedule)
    return times[:-1] if times[-1] == times[-2] else times


def _classes(pictures: Pictures) -> Tensor:
    return torch.tensor([[float(name in shown) for name in FACES.classes] for shown in pictures.shown])


def _training(n: int) -> Pictures:
    faces = [FACES.picture("train", index) for index in range(n)]
    images = np.stack([FACES.render(face) for face in faces])
    return Pictures(images, (), tuple(FACES.shown(face) for face in faces))


def _drawn(subjects: list[Subject]) -> tuple[Images, Images]:
    neutral, smiling = zip(
        *((FACES.render(s.neutral), FACES.render(s.smiling)) for s in subjects), strict=True
    )
    return np.stack(neutral), np.stack(smiling)


@torch.no_grad()
def _embedded(network: FaceRecogniser, images: Images) -> Tensor:
    return torch.cat(
        [network.embed(to_tensor(images[k : k + _BATCH])) for k in range(0, len(images), _BATCH)]
    )


def _impostors(cosines: Tensor) -> Tensor:
    """Off the diagonal of (n, n)."""
    return cosines[~torch.eye(len(cosines), dtype=torch.bool)]
