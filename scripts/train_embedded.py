"""Train the embedded suite's models from nothing and write them in standard layouts.

    python scripts/train_embedded.py MODEL [key=value ...]

MODEL is the name of a configuration in scripts/embedded/conf/, whose keys can be set on the command line, or `all`.
A run that is stopped goes on from its draft when it is started again; checkpoints/ can be removed once the weights are
written. `guidebench zoo` measures what was written.
"""

import argparse
from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from embedded import aesthetic, classifier, clip, one_step, pixels, recogniser, text_to_image, traits, vae
from embedded.data import ROOT

TRAININGS: dict[str, Callable[[str, DictConfig], None]] = {
    "vae": vae.train,
    "text_encoder": text_to_image.train_text_encoder,
    "unet": text_to_image.train_unet,
    "flow": text_to_image.train_unet,
    "one_step": one_step.train,
    "clip": clip.train,
    "classifier": classifier.train,
    "pixels": pixels.train_unet,
    "noisy_classifier": pixels.train_noisy_classifier,
    "recogniser": recogniser.train,
    "traits": traits.train,
    "diffusion_autoencoder": pixels.train_autoencoder,
    "aesthetic": aesthetic.train,
}
"""What a configuration's `kind` trains; `all` goes through the kinds in this order."""


def main() -> None:
    """Parse the command line and train."""
    files = {path.stem: path for path in sorted((ROOT / "scripts" / "embedded" / "conf").glob("*.yaml"))}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", choices=[*files, "all"])
    parser.add_argument("overrides", nargs="*", help="key=value, over scripts/embedded/conf/MODEL.yaml")
    arguments = parser.parse_args()
    names = list(files) if arguments.model == "all" else [arguments.model]
    configs = {name: OmegaConf.load(files[name]) for name in names}
    for name in sorted(names, key=lambda name: list(TRAININGS).index(configs[name].kind)):
        config = OmegaConf.merge(configs[name], OmegaConf.from_dotlist(arguments.overrides))
        assert isinstance(config, DictConfig)
        TRAININGS[config.kind](name, config)


if __name__ == "__main__":
    main()
