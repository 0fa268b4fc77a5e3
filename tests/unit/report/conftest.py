"""Synthetic records: what the store hands to the report layer, without a model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from guidebench.report.paper import parse_numbers
from guidebench.report.spec import TableSpec, parse_spec

CATEGORIES = ("colors", "counting")
EFFECTS = {"none": 0.0, "one_step": 0.006, "doodl": 0.015}


@pytest.fixture
def records() -> pd.DataFrame:
    """Two categories × 5 prompts × 4 seeds × 3 methods, with one failed sample, one not evaluated."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for category in CATEGORIES:
        for case in range(5):
            level = 0.25 + rng.normal(0, 0.02)
            for seed in range(4):
                for method, effect in EFFECTS.items():
                    rows.append(
                        {
                            "row": method,
                            "case_id": f"{category}-{case}",
                            "seed": seed,
                            "problem.category": category,
                            "problem.prompt": f"{category} | prompt {case}",
                            "status": "ok",
                            "failure": "",
                            "clip_score": level + effect + rng.normal(0, 0.003),
                            "prompt_success": float(rng.random() < 0.3 + 20 * effect),
                            "nfe_fwd": 50.0 if method != "doodl" else 2000.0,
                            "nfe_bwd": 0.0 if method == "none" else 50.0,
                            "spent_fwd": 90.0,
                            "spent_bwd": 0.0 if method == "none" else 50.0,
                            "seconds": rng.uniform(1, 2),
                            "peak_memory_mb": 900.0 + seed,
                            "caption": f"{category} | prompt {case}",
                            "parts": {},
                            "config": {"method": {"name": method}},
                            "config_hash": f"hash-{method}",
                        }
                    )
    frame = pd.DataFrame(rows)
    metrics = ["clip_score", "prompt_success"]
    failed = (frame["row"] == "doodl") & (frame["case_id"] == "colors-1") & (frame["seed"] == 2)
    frame.loc[failed, ["status", "failure"]] = ["failed", "x_t became non-finite at step 3"]
    frame.loc[failed, metrics] = np.nan
    unevaluated = (frame["row"] == "one_step") & (frame["case_id"] == "counting-0") & (frame["seed"] == 0)
    frame.loc[unevaluated, metrics] = np.nan
    return frame


@pytest.fixture
def document() -> dict[str, Any]:
    """The layout in the YAML of a table, loaded."""
    return {
        "title": "DOODL, Figure 5",
        "group_by": "category",
        "rows": {"none": {}, "one_step": {"label": "one-step"}, "doodl": {}},
        "columns": {
            "clip_score": {
                "label": "CLIP score",
                "higher_is_better": True,
                "protocol": "cosine, held-out CLIP",
            },
            "prompt_success": {"higher_is_better": True, "decimals": 2},
        },
        "comparisons": [
            {"column": "clip_score", "row": "doodl", "against": "one_step", "kind": "relative_percent"},
            {"column": "prompt_success", "row": "doodl", "against": "none", "kind": "difference"},
        ],
        "expected": "DOODL scores higher than one-step guidance.",
    }


@pytest.fixture
def section() -> dict[str, Any]:
    """The section of paper.yaml that belongs to it, loaded."""
    return {
        "setting": "Stable Diffusion 1.4, EDICT 50 steps",
        "source": "Figure 5",
        "changes": [
            {
                "column": "clip_score",
                "row": "doodl",
                "against": "one_step",
                "relative_percent": {"DALL-E": 3.1, "Reddit": 2.6},
            }
        ],
    }


@pytest.fixture
def spec(document: dict[str, Any], section: dict[str, Any]) -> TableSpec:
    """The layout with the paper's numbers."""
    return parse_spec(document, parse_numbers(section, "paper"))


@pytest.fixture
def labels() -> dict[str, str]:
    return {"suite": "embedded", "size": "small", "model": "scenes v1"}
