"""The rows of the zoo's table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from guidebench.data.pictures import WorldPictures
from guidebench.data.worlds import WORLDS
from guidebench.data.worlds.scenes.judge import parse
from guidebench.data.worlds.scenes.scene import Scene
from guidebench.data.worlds.scenes.world import SCENES
from guidebench.methods.base import Setup
from guidebench.metrics.feature_distance import FID, KID
from guidebench.models.readers.aesthetic import AestheticHead
from guidebench.models.readers.classifiers import Classifier, SmallClassifier
from guidebench.models.readers.clip import CLIP
from guidebench.models.readers.noisy_classifier import NoisyClassifier
from guidebench.studies.zoo import drawing, portraits, reading
from guidebench.studies.zoo.estimates import (
    Bar,
    Booleans,
    Row,
    correlation,
    error_overlap,
    mean,
    rate,
)
from guidebench.studies.zoo.pictures import Images, Pictures, averaged, held_out, in_turn

CANDIDATES = 100
"""Captions that a CLIP chooses from."""

NOISE_LEVELS = (1, 100, 200, 300, 500, 700)
"""Of ADM's table of 1000, where the noise-aware classifier is measured."""


@dataclass(frozen=True)
class Readers:
    """Two classifiers of the same classes.

    Args:
        worlds: whose classes they know.
        size: side of their images in pixels.
        guide: the one that guides.
        judge: the one that judges.
    """

    worlds: tuple[str, ...]
    size: int
    guide: Classifier
    judge: Classifier


@dataclass(frozen=True)
class PixelSpace:
    """The unconditional model in pixel space and its noise-aware classifier.

    Args:
        setup: the model, loaded, with its sampler.
        classifier: of its noisy images.
        worlds: whose pictures it makes.
    """

    setup: Setup
    classifier: NoisyClassifier
    worlds: tuple[str, ...]


@dataclass(frozen=True)
class Models:
    """Everything that is measured; roles are "guide" and "score".

    Args:
        setup: the text-to-image model, loaded, with sampler and guidance scale.
        clips: by role.
        classifiers: by name; those named as a world judge its generated pictures.
        features: the network of FID and KID.
        heads: aesthetic heads by role.
        pixels: the model in pixel space.
        faces: recognisers and the diffusion autoencoder.
    """

    setup: Setup
    clips: Mapping[str, CLIP]
    classifiers: Mapping[str, Readers]
    features: SmallClassifier
    heads: Mapping[str, AestheticHead]
    pixels: PixelSpace
    faces: portraits.FaceModels


def autoencoder(models: Models, n: int) -> Iterator[Row]:
    """Reconstruction of every world, and what the judge of scenes still reads afterwards."""
    for name, world in WORLDS.items():
        images = held_out(world, n).images
        again = drawing.rebuilt(models.setup.model, images)
        yield Row(f"{name}: PSNR (dB)", mean(drawing.psnr(images, again)), Bar(at_least=27))
    scenes = [SCENES.picture("test", index) for index in range(n)]
    drawn = np.stack([SCENES.render(scene) for scene in scenes])
    for label, images in (
        ("drawn", drawn),
        ("after the autoencoder", drawing.rebuilt(models.setup.model, drawn)),
    ):
        yield Row(f"rules read every object of scenes, {label} (%)", rate(_parsed(images, scenes)))


def _parsed(images: Images, scenes: list[Scene]) -> Booleans:
    return np.array(
        [
            sorted((o.shape, o.color, o.size) for o in parse(image))
            == sorted((o.shape, o.color, o.size) for o in scene.objects)
            for image, scene in zip(images, scenes, strict=True)
        ]
    )


def captions(models: Models, n: int) -> Iterator[Row]:
    """Right caption among 100 different ones, over all worlds and by world; overlap of the two CLIPs' errors.

    The others are false of the picture: one that is true of it too would be as right. What that leaves out is reported.
    """
    n = max(n, 2 * CANDIDATES)
    parts = {name: held_out(world, n) for name, world in WORLDS.items()}
    mixed = in_turn([_first(part, -(-n // len(parts))) for part in parts.values()])
    for name, pictures in {"all worlds": mixed, **parts}.items():
        among = reading.candidates(pictures, CANDIDATES, others_false=True)
        if among is None:
            continue
        right = {role: reading.ranked_first(clip, pictures, among) for role, clip in models.clips.items()}
        for role, hits in right.items():
            yield Row(
                f"{role}, {name}: right caption of {CANDIDATES} first (%)", rate(hits), Bar(at_least=80)
            )
        overlap = error_overlap(right["guide"], right["score"])
        yield Row(f"{name}: errors of the two shared, over chance", overlap, Bar(at_most=2))
    among = reading.candidates(mixed, CANDIDATES, others_false=False)
    for role, clip in models.clips.items():
        if among is not None:
            hits = reading.ranked_first(clip, mixed, among)
            yield Row(
                f"{role}, all worlds: own caption of {CANDIDATES} first, others may be true too (%)",
                rate(hits),
            )


def _first(pictures: Pictures, n: int) -> Pictures:
    return Pictures(pictures.images[:n], pictures.captions[:n], pictures.shown[:n])


def text_to_image(models: Models, n: int) -> Iterator[Row]:
    """Prompts judged right."""
    for asked in drawing.prompts(n):
        images = drawing.generate(models.setup, asked.prompts, asked.name)
        judge = (
            drawing.by_rules
            if asked.judge == "rules"
            else drawing.by_classifier(models.classifiers[asked.judge].judge)
        )
        yield Row(f"{asked.name} (%)", rate(judge(images, asked.wanted)), asked.bar)


def classifiers(models: Models, n: int) -> Iterator[Row]:
    """Accuracy on held-out seeds, and whether guide and judge fail together."""
    for name, readers in models.classifiers.items():
        worlds = [WORLDS[world] for world in readers.worlds]
        multilabel = any(world.multilabel for world in worlds)
        each = -(-n // len(worlds))
        pictures = in_turn([held_out(world, each, portraits=not world.multilabel) for world in worlds])
        pictures = averaged(pictures, readers.size)
        pair = {"guide": readers.guide, "judge": readers.judge}
        right = {
            role: reading.read_right(network, pictures, multilabel).ravel() for role, network in pair.items()
        }
        what = f"{sum(len(world.classes) for world in worlds)} {'attributes' if multilabel else 'classes'}"
        for role, hits in right.items():
            yield Row(f"{name}, {role}: {what} (%)", rate(hits), Bar(at_least=95))
        overlap = error_overlap(right["guide"], right["judge"])
        yield Row(f"{name}: errors of the two shared, over chance", overlap)


def distances(models: Models, n: int) -> Iterator[Row]:
    """FID and KID of real, rebuilt and generated pictures of all worlds against other real ones."""
    each = -(-n // len(WORLDS))
    reference = WorldPictures(list(WORLDS), "test", each * len(WORLDS))
    real = np.stack([picture.load() for picture in reference.pictures()])
    others = in_turn([held_out(world, each, start=each) for world in WORLDS.values()])
    compared = {
        "real": others.images,
        "real after the autoencoder": drawing.rebuilt(models.setup.model, others.images),
        "text to image": drawing.generate(
            models.setup, [caption.text for caption in others.captions], "distance"
        ),
    }
    for metric in (FID(models.features, reference), KID(models.features, reference)):
        for name, images in compared.items():
            unit = f" ({metric.unit})" if metric.unit else ""
            yield Row(
                f"{type(metric).__name__} of {name} to real{unit}",
                drawing.distance(metric, images, real),
            )


def pixel_space(models: Models, n: int) -> Iterator[Row]:
    """The noise-aware classifier by noise level, and FID of unconditional pictures against real ones."""
    pixels = models.pixels
    worlds, size = [WORLDS[name] for name in pixels.worlds], pixels.setup.model.sample_shape[-1]
    each = -(-n // len(worlds))
    portraits = averaged(in_turn([held_out(world, each, portraits=True) for world in worlds]), size)
    for t in NOISE_LEVELS:
        right = reading.read_right_in_noise(pixels.classifier, portraits, pixels.setup.model, t)
        yield Row(f"noise-aware classifier at noise level {t} of 1000 (%)", rate(right))
    reference = WorldPictures(list(pixels.worlds), "test", each * len(worlds), size)
    real = np.stack([picture.load() for picture in reference.pictures()])
    others = averaged(in_turn([held_out(world, each, start=each) for world in worlds]), size).images
    made = drawing.generate(pixels.setup, [""] * len(real), "pixel space")
    metric = FID(models.features, reference)
    for name, images in {"real": others, "generated": made}.items():
        yield Row(f"FID of {name} to real", drawing.distance(metric, images, real))


def aesthetics(models: Models, n: int) -> Iterator[Row]:
    """Correlation of the heads' scores with the rule, on pictures as drawn."""
    each = -(-n // len(WORLDS))
    images = in_turn([held_out(world, each) for world in WORLDS.values()]).images
    for role, head in models.heads.items():
        number = correlation(*reading.predicted_pleasantness(head, images))
        yield Row(f"{role}: correlation with the rule of pleasantness", number)


def recognisers(models: Models, n: int) -> Iterator[Row]:
    """Recognisers of faces, see `portraits`."""
    return portraits.recognition(models.faces, n)


def faces_autoencoder(models: Models, n: int) -> Iterator[Row]:
    """The diffusion autoencoder of faces, see `portraits`."""
    return portraits.autoencoding(models.faces, n)


PARTS: dict[str, tuple[str, Callable[[Models, int], Iterator[Row]], int]] = {
    "vae": ("Autoencoder, held-out pictures", autoencoder, 5),
    "clip": ("CLIPs, held-out pictures and captions", captions, 5),
    "text_to_image": ("Text to image, judged right", text_to_image, 1),
    "classifiers": ("Classifiers, held-out pictures", classifiers, 5),
    "pixels": ("Pixel space, animals and birds at 32 pixels", pixel_space, 5),
    "distances": ("Distances in features, all worlds", distances, 5),
    "recognisers": ("Face recognisers, persons that no picture of training shows", recognisers, 2),
    "faces": ("Diffusion autoencoder of faces, held-out pictures", faces_autoencoder, 1),
    "aesthetic": ("Aesthetic heads, held-out pictures", aesthetics, 5),
}
"""What can be measured: title, function, and how many times `n` pictures it takes."""
