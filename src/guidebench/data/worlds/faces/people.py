"""The ground truth of a portrait, how it is drawn by lot, and what words call its colours."""

from dataclasses import dataclass

import numpy as np

from guidebench.data.worlds.faces.captions import BACKGROUNDS

IDENTITY: tuple[str, ...] = (
    "head_width",
    "head_height",
    "jaw",
    "eye_spacing",
    "eye_size",
    "eye_height",
    "eye_color",
    "brow_tilt",
    "nose_length",
    "nose_width",
    "mouth_width",
    "mouth_height",
    "lip_fullness",
    "skin",
    "hair_light",
    "hair_warmth",
    "hair_volume",
    "hairline",
    "parting",
    "ears",
)
"""Names of the numbers that make a person, each in [-1, 1]; the picture changes smoothly with every one."""

ATTRIBUTES: dict[str, float] = {
    "old": 0.35,
    "mustache": 0.35,
    "lipstick": 0.35,
    "bushy eyebrows": 0.4,
    "long hair": 0.5,
    "glasses": 0.35,
}
"""Attributes that a face has or not, independently, with their frequency."""

_HAIR = {  # ranges of hair_light and hair_warmth, with gaps between them
    "dark": ((-1.0, -0.65), (-1.0, 0.0)),
    "brown": ((-0.35, 0.05), (-1.0, -0.1)),
    "blond": ((0.5, 1.0), (-1.0, -0.1)),
    "red": ((-0.2, 0.5), (0.55, 1.0)),
}
_HAIR_ODDS = (0.3, 0.27, 0.25, 0.18)
_SKIN = {"fair": (0.4, 1.0), "tan": (-0.3, 0.1), "dark": (-1.0, -0.6)}
_SKIN_ODDS = (0.45, 0.3, 0.25)


@dataclass(frozen=True)
class Setting:
    """Everything about a portrait but who it is and how it looks at us.

    Args:
        shift: of the head from the centre, (x, y) in pixels.
        tilt: clockwise rotation of the head in radians.
        yaw: turn of the head to the right of the picture, in [-1, 1] (about 15 degrees each way).
        light: where the light stands, (x, y), each in [-1, 1] to the right and down of the camera.
        contrast: of light and shade, in [0, 1].
        background: one of the names in `captions.BACKGROUNDS`.
        background_jitter: added to its colour, sRGB levels.
        gradient: brightness change of the background from centre to edge, sRGB levels.
        gradient_angle: its direction in radians.
        clothes: colour, sRGB levels.
        accent: shade of lipstick and frame of glasses, in [0, 1].
    """

    shift: tuple[float, float]
    tilt: float
    yaw: float
    light: tuple[float, float]
    contrast: float
    background: str
    background_jitter: tuple[float, float, float]
    gradient: float
    gradient_angle: float
    clothes: tuple[float, float, float]
    accent: float


@dataclass(frozen=True)
class Face:
    """Ground truth of a portrait.

    Args:
        identity: one number in [-1, 1] for each name of :data:`IDENTITY`.
        attributes: those of :data:`ATTRIBUTES` that the face has.
        smile: 0 neutral, 1 a broad smile; above 0.5 it counts as smiling.
        setting: pose, light and surroundings.

    Raises:
        ValueError: not as many numbers as names, a number outside [-1, 1], or an unknown attribute.
    """

    identity: tuple[float, ...]
    attributes: frozenset[str]
    smile: float
    setting: Setting

    def __post_init__(self) -> None:
        if len(self.identity) != len(IDENTITY) or not all(-1.0 <= value <= 1.0 for value in self.identity):
            raise ValueError(
                f"identity must be {len(IDENTITY)} numbers in [-1, 1] ({', '.join(IDENTITY)}), not {self.identity}"
            )
        if unknown := sorted(self.attributes - set(ATTRIBUTES)):
            raise ValueError(f"attributes must be among {tuple(ATTRIBUTES)}, not {unknown}")


def sample_identity(rng: np.random.Generator) -> tuple[float, ...]:
    """A random person: uniform, but for gaps in hair and skin that keep the colour words apart."""
    named = {name: float(rng.uniform(-1.0, 1.0)) for name in IDENTITY}
    light, warmth = _HAIR[str(rng.choice(list(_HAIR), p=_HAIR_ODDS))]
    named["hair_light"], named["hair_warmth"] = float(rng.uniform(*light)), float(rng.uniform(*warmth))
    named["skin"] = float(rng.uniform(*_SKIN[str(rng.choice(list(_SKIN), p=_SKIN_ODDS))]))
    return tuple(named.values())


def sample_smile(rng: np.random.Generator, smiling: bool) -> float:
    """How much a face smiles that does, or does not."""
    return float(rng.uniform(0.8, 1.0) if smiling else rng.uniform(0.0, 0.1))


def sample_setting(rng: np.random.Generator) -> Setting:
    """Random pose, light and surroundings."""
    hue = rng.uniform(0.0, 2.0 * np.pi)
    clothes = rng.uniform(60.0, 190.0) + rng.uniform(15.0, 50.0) * np.cos(hue + np.array([0.0, 2.1, 4.2]))
    return Setting(
        shift=(float(rng.uniform(-2.0, 2.0)), float(rng.uniform(-1.5, 1.5))),
        tilt=float(rng.uniform(-0.1, 0.1)),
        yaw=float(rng.uniform(-1.0, 1.0)),
        light=(float(rng.uniform(-1.0, 1.0)), float(rng.uniform(-0.9, 0.1))),
        contrast=float(rng.uniform(0.3, 1.0)),
        background=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        background_jitter=tuple(rng.uniform(-7.0, 7.0, 3).tolist()),
        gradient=float(rng.uniform(2.0, 16.0)),
        gradient_angle=float(rng.uniform(0.0, 2.0 * np.pi)),
        clothes=tuple(clothes.tolist()),
        accent=float(rng.uniform(0.0, 1.0)),
    )


def hair_word(light: float, warmth: float) -> str:
    """What the natural hair colour is called, at every point of the cube."""
    if warmth > 0.25 and light > -0.45:
        return "red"
    return "dark" if light < -0.5 else "brown" if light < 0.28 else "blond"


def skin_word(skin: float) -> str:
    """What the skin tone is called, at every point of the cube."""
    return "dark" if skin < -0.45 else "tan" if skin < 0.25 else "fair"
