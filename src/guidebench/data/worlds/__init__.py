"""The small worlds of the embedded suite."""

from typing import Any

from guidebench.data.worlds.animals import ANIMALS
from guidebench.data.worlds.birds import BIRDS
from guidebench.data.worlds.faces import FACES
from guidebench.data.worlds.objects import OBJECTS
from guidebench.data.worlds.scenes_world import SCENES
from guidebench.data.worlds.world import World

WORLDS: dict[str, World[Any]] = {world.name: world for world in (SCENES, BIRDS, FACES, ANIMALS, OBJECTS)}
"""All of them by name."""
