"""The *scenes* as a world: which facts a scene shows and a caption says."""

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.scenes import captions, scene
from guidebench.data.worlds.world import Caption, World

_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_NUMBERS = ("one", "two", "three", "four")


class Scenes(World[scene.Scene]):
    """Coloured shapes on named backgrounds.

    Facts: pairs present ("red circle"), who stands where ("left red"), how many objects there are in all ("two in
    all"), the background ("mint background"), and single words ("red", "circle", "two", "small").
    """

    name = "scenes"
    vocabulary = captions.VOCABULARY
    facts = tuple(
        sorted(
            {f"{color} {shape}" for color in scene.COLORS for shape in scene.SHAPES}
            | {f"{role} {word}" for role in scene.RELATIONS for word in (*scene.COLORS, *scene.SHAPES)}
            | {f"{number} in all" for number in _NUMBERS}
            | {f"{name} background" for name in scene.BACKGROUNDS}
            | {*scene.COLORS, *scene.SHAPES, *scene.SIZES, *_NUMBERS}
        )
    )

    def sample(self, rng: np.random.Generator) -> scene.Scene:
        return scene.sample(rng)

    def render(self, picture: scene.Scene) -> NDArray[np.uint8]:
        return scene.render(picture)

    def shown(self, picture: scene.Scene) -> frozenset[str]:
        facts = {f"{_NUMBERS[len(picture.objects) - 1]} in all", f"{picture.background.name} background"}
        looks = [(item.color, item.shape) for item in picture.objects]
        for item in picture.objects:
            number = _NUMBERS[looks.count((item.color, item.shape)) - 1]
            facts |= {f"{item.color} {item.shape}", item.color, item.shape, item.size, number}
        for first in picture.objects:
            for second in picture.objects:
                for role in scene.RELATIONS:
                    if first is not second and scene.stands(role, first, second):
                        facts |= {f"{role} {first.color}", f"{role} {first.shape}"}
        return frozenset(facts)

    def describe(self, picture: scene.Scene, rng: np.random.Generator) -> Caption:
        told = captions.describe(picture, rng)
        groups = [
            {word for word in (group.color, group.shape, group.size) if word} | {_NUMBERS[group.count - 1]}
            for group in told.groups
        ]
        facts = set().union(*groups)
        facts.add(f"{_NUMBERS[sum(group.count for group in told.groups) - 1]} in all")
        facts |= {f"{group.color} {group.shape}" for group in told.groups if group.color and group.shape}
        roles: set[str] = set()
        for first, relation, second in told.relations:
            for index, role in ((first, relation), (second, _OPPOSITE[relation])):
                group = told.groups[index]
                roles |= {f"{role} {word}" for word in (group.color, group.shape) if word}
        if "background" in told.words:
            facts.add(f"{told.words[told.words.index('background') - 1]} background")
        ends = {owner: position for position, owner in enumerate(told.owners) if owner >= 0}
        meanings = {position: frozenset(groups[owner]) for owner, position in ends.items()}
        if roles:  # known when the second phrase has been read
            meanings[ends[1]] |= roles
        return Caption(told.words, frozenset(facts | roles), meanings)


SCENES = Scenes()
