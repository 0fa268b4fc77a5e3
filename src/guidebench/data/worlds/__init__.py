"""The small worlds of the embedded suite."""

from typing import Any

from guidebench.data.worlds.animals.world import ANIMALS
from guidebench.data.worlds.birds.world import BIRDS
from guidebench.data.worlds.faces.world import FACES
from guidebench.data.worlds.objects.world import OBJECTS
from guidebench.data.worlds.scenes.world import SCENES
from guidebench.data.worlds.world import World

WORLDS: dict[str, World[Any]] = {world.name: world for world in (SCENES, BIRDS, FACES, ANIMALS, OBJECTS)}
"""All of them by name."""
