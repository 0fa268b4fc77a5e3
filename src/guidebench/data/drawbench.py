"""DrawBench: 200 text-to-image prompts in 11 categories."""

from collections.abc import Sequence
from pathlib import Path

from guidebench.data.prompts import PromptSet
from guidebench.errors import DataError


class DrawBench(PromptSet):
    """The prompts of DrawBench; DOODL's Fig. 5 uses the categories DALL-E (20 prompts) and Reddit (38).

    All categories: Colors, Conflicting, Counting, DALL-E, Descriptions, Gary Marcus et al., Misspellings,
    Positional, Rare Words, Reddit, Text.

    Args:
        source: a dataset repository of the Hugging Face hub (its one file is downloaded on first use), or the
            path of a CSV file with the columns Prompt,Category. A value that ends in `.csv` is a path.
        categories: which ones, in this order; None takes all.
        limit: the first n prompts of each category; None takes all.
        filename: the CSV file within the repository.
        revision: the repository's commit; pinned, so that everyone reads the same prompts.

    References:
        Saharia et al., "Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding",
        NeurIPS 2022; DOODL, Sec. 5.1.
    """

    paper: str = "Saharia et al. 2022; DOODL, Sec. 5.1"
    gives: tuple[str, ...] = ("prompt", "category")

    def __init__(
        self,
        source: str = "sayakpaul/drawbench",
        categories: Sequence[str] | None = ("DALL-E", "Reddit"),
        limit: int | None = None,
        filename: str = "DrawBench Prompts - Sheet1.csv",
        revision: str = "ad794cba698c253ffdb6d18eff3fc87b004c1135",
    ) -> None:
        super().__init__(categories, limit)
        self.source, self.filename, self.revision = source, filename, revision

    def _file(self) -> Path:
        if self.source.endswith(".csv"):
            return Path(self.source).expanduser()
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            return Path(
                hf_hub_download(self.source, self.filename, repo_type="dataset", revision=self.revision)
            )
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise DataError(
                f"DrawBench cannot be read from the hub (dataset.source={self.source!r}, '{self.filename}' "
                f"at {self.revision}): {error}. Give a CSV file with the columns Prompt,Category instead: "
                "dataset.source=/path/to/drawbench.csv."
            ) from error
