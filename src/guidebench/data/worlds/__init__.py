"""The small worlds of the embedded suite."""

from typing import Any

from guidebench.data.worlds.scenes_world import SCENES
from guidebench.data.worlds.world import World

WORLDS: dict[str, World[Any]] = {world.name: world for world in (SCENES,)}
"""All of them by name."""
