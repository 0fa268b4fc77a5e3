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
from guidebench.studies.zoo import drawing, faces_parts, portraits, reading
from guidebench.studies.zoo.estimates import (
    Bar,
    Booleans,
    Measured,
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


def autoencoder(models: Models, n: int) -> Iterator[Measured]:
    """Reconstruction of every world, and what the judge of scenes still reads afterwards."""
    for name, world in WORLDS.items():
        images = held_out(world, n).images
        again = drawing.rebuilt(models.setup.model, images)
        yield Measured(f"{name}: PSNR (dB)", mean(drawing.psnr(images, again)), Bar(at_least=30))
    scenes = [SCENES.picture("test", index) for index in range(n)]
    drawn = np.stack([SCENES.render(scene) for scene in scenes])
    for label, images in (
        ("drawn", drawn),
        ("after the autoencoder", drawing.rebuilt(models.setup.model, drawn)),
    ):
        yield Measured(f"rules read every object of scenes, {label} (%)", rate(_parsed(images, scenes)))


def _parsed(images: Images, scenes: list[Scene]) -> Booleans:
    return np.array(
        [
            sorted((o.shape, o.color, o.size) for o in parse(image))
            == sorted((o.shape, o.color, o.size) for o in scene.objects)
            for image, scene in zip(images, scenes, strict=True)
        ]
    )


def captions(models: Models, n: int) -> Iterator[Measured]:
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
            yield Measured(
                f"{role}, {name}: right caption of {CANDIDATES} first (%)", rate(hits), Bar(at_least=80)
            )
        overlap = error_overlap(right["guide"], right["score"])
        yield Measured(f"{name}: errors of the two shared, over chance", overlap, Bar(at_most=2))
    among = reading.candidates(mixed, CANDIDATES, others_false=False)
    for role, clip in models.clips.items():
        if among is not None:
            hits = reading.ranked_first(clip, mixed, among)
            yield Measured(
                f"{role}, all worlds: own caption of {CANDIDATES} first, others may be true too (%)",
                rate(hits),
            )


def _first(pictures: Pictures, n: int) -> Pictures:
    return Pictures(pictures.images[:n], pictures.captions[:n], pictures.shown[:n])


def text_to_image(models: Models, n: int) -> Iterator[Measured]:
    """Prompts judged right."""
    for asked in drawing.prompts(n):
        images = drawing.generate(models.setup, asked.prompts, asked.name)
        judge = (
            drawing.by_rules
            if asked.judge == "rules"
            else drawing.by_classifier(models.classifiers[asked.judge].judge)
        )
        yield Measured(f"{asked.name} (%)", rate(judge(images, asked.wanted)), asked.bar)


def classifiers(models: Models, n: int) -> Iterator[Measured]:
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
            yield Measured(f"{name}, {role}: {what} (%)", rate(hits), Bar(at_least=95))
        overlap = error_overlap(right["guide"], right["judge"])
        yield Measured(f"{name}: errors of the two shared, over chance", overlap)


def distances(models: Models, n: int) -> Iterator[Measured]:
    """FID and KID of real, rebuilt and generated pictures of all worlds against other real ones; sharpness; faces."""
    each = -(-n // len(WORLDS))
    reference = WorldPictures(list(WORLDS), "test", each * len(WORLDS))
    real = np.stack([picture.load() for picture in reference.pictures()])
    others = in_turn([held_out(world, each, start=each) for world in WORLDS.values()])
    rebuilt = drawing.rebuilt(models.setup.model, others.images)
    made = drawing.generate(models.setup, [caption.text for caption in others.captions], "distance")
    compared = {"real": others.images, "real after the autoencoder": rebuilt, "text to image": made}
    for metric in (FID(models.features, reference), KID(models.features, reference)):
        far = drawing.features(metric, real)
        seen = {name: drawing.features(metric, images) for name, images in compared.items()}
        unit = f" ({metric.unit})" if metric.unit else ""
        for name, features in seen.items():
            yield Measured(
                f"{type(metric).__name__} of {name} to real{unit}", drawing.distance(metric, features, far)
            )
        if isinstance(metric, FID):
            number = drawing.times_further(
                metric, seen["text to image"], seen["real after the autoencoder"], far
            )
            yield Measured(
                "FID of text to image over that of the autoencoder alone", number, Bar(at_most=1.3)
            )
    for start, name in enumerate(WORLDS):
        own = slice(start, None, len(WORLDS))
        number = drawing.quotient(drawing.fine_power(rebuilt[own]), drawing.fine_power(others.images[own]))
        yield Measured(
            f"{name}: power above half the Nyquist frequency, the autoencoder alone over drawn", number
        )
        number = drawing.quotient(drawing.fine_power(made[own]), drawing.fine_power(rebuilt[own]))
        yield Measured(
            f"{name}: power above half the Nyquist frequency, text to image over the autoencoder alone",
            number,
            Bar(at_least=0.8, at_most=1.2),
        )
    own = slice(list(WORLDS).index("faces"), None, len(WORLDS))
    said = [caption.facts for caption in others.captions[own]]
    right = reading.attributes_as_said(models.classifiers["faces"].judge, made[own], said)
    yield Measured("faces: attributes as the caption says, by the judge (%)", rate(right), Bar(at_least=90))
    for part in faces_parts.PARTS:
        for name, images, bar in (
            ("drawn", others.images, Bar()),
            ("text to image", made, Bar(at_least=90)),
        ):
            yield Measured(
                f"faces, {name}: {part} present (%)", rate(faces_parts.present(images[own], part)), bar
            )
        bare = faces_parts.drawn(each, without=part, start=0)
        yield Measured(f"faces, drawn without: {part} present (%)", rate(faces_parts.present(bare, part)))


def pixel_space(models: Models, n: int) -> Iterator[Measured]:
    """The noise-aware classifier by noise level, and FID of unconditional pictures against real ones."""
    pixels = models.pixels
    worlds, size = [WORLDS[name] for name in pixels.worlds], pixels.setup.model.sample_shape[-1]
    each = -(-n // len(worlds))
    portraits = averaged(in_turn([held_out(world, each, portraits=True) for world in worlds]), size)
    for t in NOISE_LEVELS:
        right = reading.read_right_in_noise(pixels.classifier, portraits, pixels.setup.model, t)
        yield Measured(f"noise-aware classifier at noise level {t} of 1000 (%)", rate(right))
    reference = WorldPictures(list(pixels.worlds), "test", each * len(worlds), size)
    real = np.stack([picture.load() for picture in reference.pictures()])
    others = averaged(in_turn([held_out(world, each, start=each) for world in worlds]), size).images
    made = drawing.generate(pixels.setup, [""] * len(real), "pixel space")
    metric = FID(models.features, reference)
    far, near, seen = (drawing.features(metric, images) for images in (real, others, made))
    yield Measured("FID of real to real", drawing.distance(metric, near, far))
    yield Measured("FID of generated to real", drawing.distance(metric, seen, far))
    number = drawing.times_further(metric, seen, near, far)
    yield Measured("FID of generated to real over that of real to real", number, Bar(at_most=3))


def aesthetics(models: Models, n: int) -> Iterator[Measured]:
    """Correlation of the heads' scores with the rule, on pictures as drawn."""
    each = -(-n // len(WORLDS))
    images = in_turn([held_out(world, each) for world in WORLDS.values()]).images
    for role, head in models.heads.items():
        number = correlation(*reading.predicted_pleasantness(head, images))
        yield Measured(f"{role}: correlation with the rule of pleasantness", number)


def recognisers(models: Models, n: int) -> Iterator[Measured]:
    """Recognisers of faces, see `portraits`."""
    return portraits.recognition(models.faces, n)


def faces_autoencoder(models: Models, n: int) -> Iterator[Measured]:
    """The diffusion autoencoder of faces, see `portraits`."""
    return portraits.autoencoding(models.faces, n)


PARTS: dict[str, tuple[str, Callable[[Models, int], Iterator[Measured]], int]] = {
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
