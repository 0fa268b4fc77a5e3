"""DDS: what is left of SDS when the same look at the source picture is subtracted."""

from typing import Any

from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.methods.distillation.base import Distillation
from guidebench.methods.distillation.look import Look
from guidebench.problems import field


class DDS(Distillation):
    """Delta denoising score: g = eps_w(z_t, prompt) - eps_w(z'_t, prompt'), z' the source and prompt' its own prompt.

    Time and noise are shared, so that what the model would change about the source anyway cancels.

    Cost: 4 network rows per view and step.

    References: Hertz, Aberman, Cohen-Or, "Delta Denoising Score", ICCV 2023.
    """

    paper = "DDS (Hertz et al. 2023)"
    evaluations = 4

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        self.reads = tuple(dict.fromkeys((*self.reads, "source_prompt")))
        if "source" not in self.reads:
            raise ConfigError(
                "method.canvas.init: DDS subtracts a look at the source picture; set method.canvas.init=source"
            )

    def gradient(self, look: Look) -> Tensor:
        assert look.source is not None  # the canvas reads it
        z_t = look.noised(look.source, look.eps)
        prompts = field(look.problems, "source_prompt", "method=dds")
        eps_u = look.ask(z_t, [""] * len(z_t))
        eps_c = look.ask(z_t, [prompt + more for prompt, more in zip(prompts, look.words, strict=True)])
        return look.eps_w - (eps_u + look.cfg_scale * (eps_c - eps_u))
