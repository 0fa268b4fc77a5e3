"""How well the text-to-image model draws: what it is asked, who judges, and its pictures as a set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch

from guidebench.data.worlds.animals.world import KINDS
from guidebench.data.worlds.birds import world as birds
from guidebench.data.worlds.objects.world import OBJECTS
from guidebench.data.worlds.scenes import captions, scene
from guidebench.data.worlds.scenes.judge import Requirement, satisfies
from guidebench.data.worlds.scenes.world import SCENES
from guidebench.methods.base import Setup
from guidebench.methods.none import Unguided
from guidebench.metrics.base import SetMetric
from guidebench.models.base import DiffusionModel
from guidebench.models.readers.classifiers import Classifier
from guidebench.pixels import to_tensor, to_uint8
from guidebench.problems import TextToImage
from guidebench.studies.zoo.estimates import Bar, Booleans, Floats, Number, jackknife
from guidebench.studies.zoo.pictures import Images
from guidebench.studies.zoo.reading import named

Judge = Callable[[Images, Sequence[str]], Booleans]
"""Images and what each was to show -> whether it does."""

_BATCH = 25
_ROOM = Bar(at_least=20, at_most=80)
_DRAWN = Bar(at_least=85)


@dataclass(frozen=True)
class Asked:
    """Prompts of one kind.

    Args:
        name: of the kind.
        prompts: n of them.
        wanted: what the judge needs to know of each: the prompt itself, or the name of a class.
        judge: "rules" or the name of a world, whose judging classifier decides.
        bar: for the percentage judged right.
    """

    name: str
    prompts: tuple[str, ...]
    wanted: tuple[str, ...]
    judge: str
    bar: Bar


def prompts(n: int) -> list[Asked]:
    """What the model is asked: n prompts of each kind, the same at every call."""
    by_name: dict[str, list[str]] = {
        name: []
        for name in ("one object", "two objects", "two objects in a relation", "two to four of a kind")
    }
    for index in range(n):
        rng = SCENES.rng("test", 10**6 + index)
        first, second = scene.sample(rng, kind="pair").objects
        one, two = (f"{_article(o.color)} {o.color} {o.shape}" for o in (first, second))
        relation = tuple(captions.RELATION_WORDS)[rng.integers(len(captions.RELATION_WORDS))]
        number = ("two", "three", "four")[rng.integers(3)]
        by_name["one object"].append(one)
        by_name["two objects"].append(f"{one} and {two}")
        by_name["two objects in a relation"].append(f"{one} {relation} {two}")
        by_name["two to four of a kind"].append(f"{number} {first.color} {captions.PLURALS[first.shape]}")
    pairs = [f"{_article(color)} {color} {shape}" for color, shape in sorted(scene.HELD_OUT)]
    by_name["held-out combination, one object"] = list(islice(cycle(pairs), n))
    by_name["held-out combination and another object"] = [
        f"{pair} and {other}"
        for pair, other in zip(
            by_name["held-out combination, one object"], by_name["one object"], strict=True
        )
    ]
    asked = [
        Asked(
            f"scenes, {name}", tuple(texts), tuple(texts), "rules", _DRAWN if name == "one object" else _ROOM
        )
        for name, texts in by_name.items()
    ]
    asked.append(_of_classes("birds, named species", "birds", _species(birds.NAMED), n, _DRAWN))
    asked.append(
        _of_classes("birds, unnamed species by name", "birds", _species(birds.UNNAMED), n, Bar(at_most=15))
    )
    asked.append(_of_classes("animals", "animals", {kind: kind for kind in KINDS}, n, _DRAWN))
    asked.append(_of_classes("objects", "objects", {name: name for name in OBJECTS.classes}, n, _DRAWN))
    return asked


def _species(names: Sequence[str]) -> dict[str, str]:
    """Class of each species."""
    return {name: next(c for c in birds.BIRDS.classes if c.endswith(f" {name}")) for name in names}


def _of_classes(name: str, world: str, classes: dict[str, str], n: int, bar: Bar) -> Asked:
    chosen = list(islice(cycle(classes), n))
    texts = tuple(f"{_article(noun)} {noun}" for noun in chosen)
    return Asked(name, texts, tuple(classes[noun] for noun in chosen), world, bar)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def by_rules(images: Images, wanted: Sequence[str]) -> Booleans:
    """Whether each image shows its prompt's objects and no others, by the scenes' parser."""
    pairs = zip(images, wanted, strict=True)
    return np.array([satisfies(image, Requirement.from_prompt(prompt)) for image, prompt in pairs])


def by_classifier(classifier: Classifier) -> Judge:
    """Whether a classifier gives each image the wanted class."""

    def judge(images: Images, wanted: Sequence[str]) -> Booleans:
        return np.array(named(classifier, images)) == np.array(wanted)

    return judge


def generate(setup: Setup, texts: Sequence[str], name: str, seed: int = 0) -> Images:
    """One picture per prompt, by unguided sampling, rounded to 8 bits as stored samples are.

    Args:
        setup: a loaded model, its sampler and weight of classifier-free guidance.
        texts: prompts.
        name: keys the random numbers together with the prompt's place and the seed.
        seed: of the run.
    """
    problems = [TextToImage(f"{name}-{i}", seed, text, name) for i, text in enumerate(texts)]
    batches = [problems[start : start + _BATCH] for start in range(0, len(problems), _BATCH)]
    return np.concatenate([to_uint8(Unguided().generate(batch, setup).samples) for batch in batches])


@torch.no_grad()
def rebuilt(model: DiffusionModel, images: Images) -> Images:
    """The images after encoding and decoding."""
    parts = [
        to_uint8(model.decode(model.encode(to_tensor(images[start : start + _BATCH], model.device))))
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)


def psnr(images: Images, others: Images) -> Floats:
    """Peak signal-to-noise ratio of each pair of images in dB, (n,)."""
    error = ((images.astype(np.float64) - others) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255.0**2 / error)


def fine_power(images: Images) -> Floats:
    """Power of each image above half the Nyquist frequency, radially, per pixel and under Hann's window, (n,)."""
    side = images.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side))[..., None]
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(centred * window, axes=(1, 2))) ** 2
    frequencies = np.fft.fftfreq(side)
    fine = np.hypot(frequencies[:, None], frequencies) > 0.25
    found: Floats = power[:, fine].sum(axis=(1, 2)) / side**4
    return found


def quotient(above: Floats, below: Floats) -> Number:
    """Mean of (n,) over mean of (n,), both left out by groups for the interval."""
    return jackknife(lambda rows: float(above[rows].mean() / below[rows].mean()), len(above))


def features(metric: SetMetric, images: Images) -> Floats:
    """What a metric compares, (n, d)."""
    parts = [
        metric.features(to_tensor(images[start : start + _BATCH])).double().numpy()
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)


def distance(metric: SetMetric, seen: Floats, real: Floats) -> Number:
    """A distance of n images from n real ones by their features, both left out by groups for the interval."""
    return jackknife(lambda rows: metric.value(seen[rows], real[rows]), len(seen))


def times_further(metric: SetMetric, seen: Floats, others: Floats, real: Floats) -> Number:
    """How many times further `seen` is from real images than `others` are."""
    return jackknife(
        lambda rows: metric.value(seen[rows], real[rows]) / metric.value(others[rows], real[rows]), len(seen)
    )
