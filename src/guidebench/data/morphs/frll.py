"""The Face Research Lab London set, from the folders and files that its authors published."""

import csv
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from guidebench.data.alignment import ARCFACE_112, arcface5, ffhq, ffhq_square, five_of_68, similarity
from guidebench.data.image_files import content_digest
from guidebench.data.morphs.gallery import Gallery, Person
from guidebench.errors import ConfigError, DataError
from guidebench.problems import Picture, Place

FloatArray = NDArray[np.float64]

_log = logging.getLogger(__name__)


class Landmarks(ABC):
    """Where the landmarks of a photograph come from."""

    name: str

    @abstractmethod
    def find(self, file: Path) -> FloatArray:
        """All landmarks, (n, 2), (x, y) in pixels.

        Raises:
            DataError: there are none.
        """

    @abstractmethod
    def five(self, landmarks: FloatArray) -> FloatArray:
        """Eyes from left to right, nose, corners of the mouth from left to right, (5, 2)."""


class TemFiles(Landmarks):
    """The set's own templates of 189 points, Psychomorph's `.tem`, which lie beside the photographs.

    The nose is the middle of its points, and the corners of the mouth are its outermost points.

    References: DeBruine & Jones, "Face Research Lab London Set", figshare (2017); webmorph's template "FRL".
    """

    name = "tem"

    def find(self, file: Path) -> FloatArray:
        tem = file.with_suffix(".tem")
        try:
            lines = tem.read_text().split("\n")
            points = [[float(number) for number in line.split()[:2]] for line in lines[1 : 1 + int(lines[0])]]
        except (OSError, ValueError, IndexError) as error:
            raise DataError(f"{tem} cannot be read as a template: {error}.") from error
        if len(points) != 189 or any(len(point) != 2 for point in points):
            raise DataError(f"{tem} holds {len(points)} points, 189 are needed.")
        return np.array(points)

    def five(self, landmarks: FloatArray) -> FloatArray:
        pupils, mouth = landmarks[:2], landmarks[87:109]
        corners = mouth[[mouth[:, 0].argmin(), mouth[:, 0].argmax()]]
        return np.concatenate([pupils[pupils[:, 0].argsort()], landmarks[50:71].mean(0)[None], corners])


class Dlib(Landmarks):
    """The 68 points that dlib finds: what FFHQ and DiM align with.

    Args:
        predictor: dlib's `shape_predictor_68_face_landmarks.dat`.
    """

    name = "dlib"

    def __init__(self, predictor: str) -> None:
        self.predictor = predictor

    def find(self, file: Path) -> FloatArray:
        detector, predictor = self._loaded
        image = np.asarray(Image.open(file).convert("RGB"))
        faces = detector(image, 1)
        if not len(faces):
            raise DataError(f"{file}: dlib finds no face in it.")
        shape = predictor(image, faces[0])
        return np.array([[shape.part(i).x, shape.part(i).y] for i in range(68)], np.float64)

    def five(self, landmarks: FloatArray) -> FloatArray:
        return five_of_68(landmarks)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            import dlib
        except ImportError as error:
            raise ConfigError(
                "networks.gallery.landmarks: Dlib needs the package dlib; install it, or align with the set's own "
                "templates: networks.gallery.landmarks=null"
            ) from error
        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(Path(self.predictor).expanduser()))


class FRLL(Gallery):
    """102 people, neutral and smiling, from the front; women and men are the groups.

    Somebody of whom a picture cannot be read or aligned is left out, with a warning that says why.

    Args:
        path: the folder with `neutral_front`, `smiling_front` and `london_faces_info.csv`.
        alignment: "ffhq", what DiffAE was trained on and the papers give to recognisers too; "arcface5", what
            recognisers were trained on; or "none", for pictures that were aligned before.
        size: side of the pictures, pixels.
        landmarks: where they come from; null reads the set's own templates.

    Differs from the paper: with the set's templates, eyes are pupils instead of means of outlines.

    References: DeBruine & Jones, "Face Research Lab London Set", figshare, doi 10.6084/m9.figshare.5047666 (CC BY 4.0).
    """

    def __init__(
        self,
        path: str,
        alignment: Literal["ffhq", "arcface5", "none"] = "ffhq",
        size: int = 256,
        landmarks: Landmarks | None = None,
    ) -> None:
        if alignment not in ("ffhq", "arcface5", "none"):
            raise ConfigError(
                f"networks.gallery.alignment: got {alignment!r}; allowed are 'ffhq', 'arcface5' and 'none'"
            )
        self.path, self.alignment, self.size = path, alignment, size
        self.landmarks = TemFiles() if landmarks is None else landmarks

    @property
    def name(self) -> str:
        return f"FRLL, {len(self.people())} people ({self._how})"

    @property
    def _how(self) -> str:
        by = "" if self.alignment == "none" else f" by {self.landmarks.name}"
        return f"{self.alignment}{by}, {self.size} px"

    def people(self) -> Sequence[Person]:
        return self._people

    @cached_property
    def _people(self) -> list[Person]:
        groups = self._groups()
        files = {
            expression: {
                file.stem.split("_")[0]: file for file in sorted((self._root / folder).glob("*.jpg"))
            }
            for expression, folder in (("neutral", "neutral_front"), ("smiling", "smiling_front"))
        }
        both = sorted(files["neutral"].keys() & files["smiling"].keys() & groups.keys())
        found = []
        for name in both:
            try:
                found.append(self._person(name, groups[name], files["neutral"][name], files["smiling"][name]))
            except DataError as error:
                _log.warning("FRLL: person %s is left out: %s", name, error)
        if len(found) < 2:
            raise DataError(
                f"networks.gallery.path: {self._root} holds {len(found)} people that can be used, two are needed; give "
                "the folder with neutral_front, smiling_front and london_faces_info.csv"
                + (", and the .tem files beside the pictures." if not found and both else ".")
            )
        return found

    def _person(self, name: str, group: str, neutral: Path, smiling: Path) -> Person:
        if self.alignment == "none":
            pictures = [Picture(self._called(file), partial(self._read, file)) for file in (neutral, smiling)]
            return Person(name, group, pictures[0], pictures[1])
        marks = [self.landmarks.find(file) for file in (neutral, smiling)]
        aligned = [
            Picture(self._called(file), partial(self._aligned, file, self.landmarks.five(points)))
            for file, points in zip((neutral, smiling), marks, strict=True)
        ]
        return Person(name, group, aligned[0], aligned[1], self._places(marks[0]))

    def _called(self, file: Path) -> str:
        return f"frll/{file.parent.name}/{file.stem} {self._how} {content_digest(file)}"

    def _read(self, file: Path) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as image:
                return np.asarray(
                    image.convert("RGB").resize((self.size, self.size), Image.Resampling.LANCZOS)
                )
        except OSError as error:
            raise DataError(f"{file} cannot be read as an image: {error}") from error

    def _aligned(self, file: Path, five: FloatArray) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as opened:
                image = np.asarray(opened.convert("RGB"))
        except OSError as error:
            raise DataError(f"{file} cannot be read as an image: {error}") from error
        return (ffhq if self.alignment == "ffhq" else arcface5)(image, five, self.size)

    def _places(self, landmarks: FloatArray) -> tuple[Place, ...]:
        """All landmarks as shares of the aligned picture's sides."""
        five = self.landmarks.five(landmarks)
        if self.alignment == "ffhq":
            square = ffhq_square(five)
            axes = np.stack([square[3] - square[0], square[1] - square[0]], axis=1)
            shares = np.linalg.solve(axes, (landmarks - square[0]).T).T
        else:
            forward = similarity(five, np.array(ARCFACE_112))
            shares = (landmarks @ forward[:, :2].T + forward[:, 2] + 0.5) / 112
        return tuple((float(x), float(y)) for x, y in shares)

    def _groups(self) -> dict[str, str]:
        """The group of each person, from the set's table of people."""
        table = self._root / "london_faces_info.csv"
        try:
            with table.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
            return {row["face_id"][-3:]: row["face_gender"] for row in rows}
        except (OSError, KeyError) as error:
            raise DataError(
                f"networks.gallery.path: {table} cannot be read as the set's table of people (face_id, face_gender): "
                f"{error!r}."
            ) from error

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser()
