"""Synthetic records: what the store hands to the report layer, without a model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

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
                            "method": method,
                            "case_id": f"{category}-{case}",
                            "seed": seed,
                            "category": category,
                            "prompt": f"{category} | prompt {case}",
                            "status": "ok",
                            "failure": "",
                            "clip_score": level + effect + rng.normal(0, 0.003),
                            "prompt_success": float(rng.random() < 0.3 + 20 * effect),
                            "nfe_fwd": 50.0 if method != "doodl" else 2000.0,
                            "nfe_bwd": 0.0 if method == "none" else 50.0,
                            "seconds": rng.uniform(1, 2),
                            "peak_memory_mb": 900.0 + seed,
                            "image": "",
                            "config": {"method": {"name": method}},
                            "config_hash": f"hash-{method}",
                        }
                    )
    frame = pd.DataFrame(rows)
    metrics = ["clip_score", "prompt_success"]
    failed = (frame["method"] == "doodl") & (frame["case_id"] == "colors-1") & (frame["seed"] == 2)
    frame.loc[failed, ["status", "failure"]] = ["failed", "x_t became non-finite at step 3"]
    frame.loc[failed, metrics] = np.nan
    unevaluated = (frame["method"] == "one_step") & (frame["case_id"] == "counting-0") & (frame["seed"] == 0)
    frame.loc[unevaluated, metrics] = np.nan
    return frame


@pytest.fixture
def document() -> dict[str, Any]:
    """The YAML of a table, loaded."""
    return {
        "paper": "doodl",
        "paper_setting": "Stable Diffusion 1.4, EDICT 50 steps",
        "title": "DOODL, Figure 5",
        "primary": "clip_score",
        "group_by": "category",
        "rows": {
            "key": "method",
            "values": ["none", "one_step", "doodl"],
            "labels": {"one_step": "one-step"},
        },
        "metrics": {
            "clip_score": {
                "label": "CLIP score",
                "higher_is_better": True,
                "protocol": "cosine, held-out CLIP",
            },
            "prompt_success": {"higher_is_better": True, "decimals": 2},
        },
        "comparisons": [
            {
                "metric": "clip_score",
                "row": "doodl",
                "against": "one_step",
                "kind": "relative_percent",
                "paper": {"DALL-E": 3.1, "Reddit": 2.6},
            },
            {"metric": "prompt_success", "row": "doodl", "against": "none", "kind": "difference"},
        ],
        "expected": "DOODL scores higher than one-step guidance.",
    }


@pytest.fixture
def labels() -> dict[str, str]:
    return {"suite": "embedded", "size": "small", "model": "scenes v1"}
