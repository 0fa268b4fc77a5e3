"""The reference images that restored images are compared with."""

from collections.abc import Sequence

from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, field


def reference_images(images: Tensor, problems: Sequence[Problem], where: str) -> Tensor:
    """The clean image of each problem, (b, 3, H, W) in [0, 1], on the images' device.

    Args:
        images: restored images (b, 3, H, W), which must have the references' size.
        problems: b of them.
        where: config path of the metric, for messages.

    Raises:
        ConfigError: a problem has no reference, or one of another size.
    """
    pictures = field(problems, "reference", where)
    references = to_tensor([picture.load() for picture in pictures], images.device)
    if references.shape != images.shape:
        raise ConfigError(
            f"{where}: samples are {images.shape[-1]} pixels wide and {images.shape[-2]} high, reference "
            f"{pictures[0].name!r} {references.shape[-1]} and {references.shape[-2]}; choose the dataset's size to fit "
            "the model"
        )
    return references
