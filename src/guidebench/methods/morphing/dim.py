"""DiM: a morph is what a diffusion autoencoder makes of two blended codes."""

from collections.abc import Sequence

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Generation, Method, Setup, Use
from guidebench.methods.morphing.blending import Interpolation
from guidebench.methods.morphing.encoders import Encoder, Inversion
from guidebench.methods.morphing.parents import PreMorph, encode_parents
from guidebench.methods.none import Unguided
from guidebench.problems import Problem


class DiM(Method):
    """Encode both people, blend codes and noises, and let any method go on from there.

        z = (1 - w) z_a + w z_b;   x_T = slerp(x_T^a, x_T^b; w);   sample, guide or optimise from (x_T, z)

    Plain sampling is DiM and, with other solvers, Fast-DiM. A method that guides or optimises gives the rest of the
    family: Greedy gives Greedy-DiM*, descent along AdjointDEIS's gradient is the paper's "DiM + AdjointDEIS".

    Args:
        encoder: how pictures become noise; null inverts the job's sampler.
        weight: of the second person.
        interpolation: of the noises: DiM's variants A, C and D have "slerp", B has "lerp".
        pre_morph: what is encoded into noise: "none" (A, B), "average" (C) or "warp" (D).
        method: what goes on from the blend; null samples it.

    Differs from the paper: the pre-morph of C and D is encoded twice, with each person's code, as the sources leave
    open; D's warp is by landmarks on a Delaunay triangulation, as OpenCV's recipe.

    References: Blasingame & Liu, "Leveraging Diffusion for Strong and High Quality Face Morphing Attacks", TBIOM 2024;
    "Fast-DiM", IEEE Security & Privacy 2024.
    """

    paper = "DiM (Blasingame & Liu 2024)"
    conditions = True

    def __init__(
        self,
        encoder: Encoder | None = None,
        weight: float = 0.5,
        interpolation: Interpolation = "slerp",
        pre_morph: PreMorph = "none",
        method: Method | None = None,
    ) -> None:
        self.encoder = Inversion() if encoder is None else encoder
        self.weight, self.interpolation, self.pre_morph = weight, interpolation, pre_morph
        self.method = Unguided() if method is None else method

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Both pictures, landmarks for the pre-morph that warps, and what the method reads."""
        warp = ("landmarks_a", "landmarks_b") if self.pre_morph == "warp" else ()
        return ("a", "b", *warp, *self.method.reads)

    @property
    def uses(self) -> tuple[Use, ...]:  # type: ignore[override]
        """What the method uses."""
        return self.method.uses

    @property
    def keeps_noise(self) -> bool:  # type: ignore[override]
        """Whether the method does."""
        return self.method.keeps_noise

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        parents = encode_parents(problems, setup, self.encoder, self.pre_morph)
        generation = self.method.generate(problems, parents.blended(self.weight, self.interpolation))
        generation.cost, generation.spent = self.cost(setup), generation.spent + parents.cost
        return generation

    def cost(self, setup: Setup) -> Cost:
        return self.method.cost(setup) + Cost(nfe_fwd=2 * self.encoder.evaluations(setup))

    def printed_evaluations(self, setup: Setup) -> int:
        """Forwards as the papers print them: both people's encodings, one batch, count once; so does nothing that is
        left to do when an optimisation is over. (`cost` counts network rows, all of them.)
        """
        last_pass = setup.chain().n_stages if "gradient" in self.uses else 0
        return self.encoder.evaluations(setup) + self.method.cost(setup).nfe_fwd - last_pass

    def loss_evaluations(self, setup: Setup) -> int:
        return self.method.loss_evaluations(setup)
