"""One static HTML page of stored samples: the same prompt and seed across methods, side by side."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from PIL import Image

from guidebench.errors import DataError
from guidebench.report.render.files import write_text

THUMBNAIL_SIZE = 256
PIXELATED_SIZE = 96  # up to here every pixel counts: stored without loss and enlarged without smoothing
Thumbnail = Callable[[Path], Image.Image | None]
"""The picture that stands for a file of a sample; None where there is none."""

COSTS = ("seconds", "peak_memory_mb", "nfe_fwd", "nfe_bwd")


def write_gallery(
    records: pd.DataFrame,
    path: Path,
    *,
    title: str,
    metrics: Mapping[str, bool],
    setting: str = "",
    column: str = "row",
    order: Sequence[str] = (),
    thumbnail: Thumbnail | None = None,
) -> Path:
    """Writes the gallery to `path`: one file that opens from `file://` and loads nothing from elsewhere.

    Thumbnails of at most 256 pixels are inside the page; each links to the stored file by its path relative
    to the page. Rows are (case, seed), columns the values of `column`; where several configs share a value (a
    sweep over another key), each gets a column of its own, named by its config hash.

    Args:
        records: one row per stored sample: `column`, `case_id`, `seed`, `caption`, `status`, `failure`, `parts` (the
            file of each part by name), `config` (nested mapping), `config_hash`, one column per metric, the costs
            `seconds`, `peak_memory_mb`, `nfe_fwd`, `nfe_bwd`, and `problem.category` where problems have one. Metrics
            and costs that are no column are shown as missing.
        path: the page to write.
        title: heading.
        metrics: name to "higher is better", in the order of display; the first is shown below each image.
        setting: what was run, printed below the heading.
        column: column of the records that tells the columns of the page apart.
        order: values of `column` to put first; the others follow in alphabetical order.
        thumbnail: the picture of a file; without it files are read as images.

    Returns:
        `path`.

    Raises:
        DataError: a column is missing, or one config holds a (case, seed) more than once.
    """
    content = _content(records, path.parent, metrics, column, order, thumbnail or _read)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("guidebench.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    templates = resources.files("guidebench.report") / "templates"
    script, style = ((templates / name).read_text(encoding="utf-8") for name in ("gallery.js", "gallery.css"))
    page = environment.get_template("gallery.html.j2").render(
        title=title,
        setting=setting,
        script=script,
        style=style,
        script_hash=_csp_hash(script),
        style_hash=_csp_hash(style),
        content=_json_for_html(content),
    )
    write_text(path, page)
    return path


def _content(
    records: pd.DataFrame,
    folder: Path,
    metrics: Mapping[str, bool],
    column: str,
    order: Sequence[str],
    thumbnail: Thumbnail,
) -> dict[str, Any]:
    """The page's data: columns, measures, configs and rows of samples."""
    required = [
        column,
        "case_id",
        "seed",
        "caption",
        "status",
        "failure",
        "parts",
        "config",
        "config_hash",
    ]
    missing = [name for name in required if name not in records.columns]
    if missing:
        raise DataError(
            f"the stored records have no column {', '.join(missing)}; they have {', '.join(records.columns)}"
        )
    frame = records.assign(column=_column_labels(records, column))
    ranks = {label: i for i, label in enumerate(_column_order(frame, column, order))}
    frame["category"] = frame["problem.category"].fillna("") if "problem.category" in frame else ""
    frame = frame.sort_values(["category", "case_id", "seed", "column"], kind="stable")
    measures = [*metrics, *(name for name in COSTS if name not in metrics)]
    configs: dict[str, Any] = {}
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for record in frame.to_dict("records"):
        key = (str(record["case_id"]), int(record["seed"]))
        row = rows.setdefault(
            key,
            {
                "case": key[0],
                "seed": key[1],
                "category": str(record["category"]),
                "prompt": str(record["caption"]),
                "samples": [None] * len(ranks),
            },
        )
        position = ranks[record["column"]]
        if row["samples"][position] is not None:
            raise DataError(
                f"config {record['config_hash']}, case {key[0]!r}, seed {key[1]} is stored more than once"
            )
        configs[str(record["config_hash"])] = record["config"]
        row["samples"][position] = {
            "status": record["status"],
            "failure": str(record["failure"] or ""),
            "values": [record.get(name) for name in measures],
            "config": str(record["config_hash"]),
            **_image(record, folder, thumbnail),
        }
    return {
        "columns": list(ranks),
        "measures": [
            {"name": name, "higherIsBetter": metrics.get(name, False), "isCost": name not in metrics}
            for name in measures
        ],
        "configs": configs,
        "rows": list(rows.values()),
    }


def _column_labels(records: pd.DataFrame, column: str) -> pd.Series[str]:
    """The value of `column`, with the config hash where several configs share a (value, case, seed)."""
    values = records[column].map(str)
    ambiguous = set(
        values[records.assign(column=values).duplicated(["column", "case_id", "seed"], keep=False)]
    )
    hashed = values + " " + records["config_hash"].map(lambda config_hash: str(config_hash)[:8])
    return values.where(~values.isin(list(ambiguous)), hashed)


def _column_order(frame: pd.DataFrame, column: str, order: Sequence[str]) -> list[str]:
    """Labels sorted by the place of their value in `order`, then alphabetically."""
    places = {value: place for place, value in enumerate(order)}
    pairs = {
        (places.get(str(value), len(places)), label)
        for value, label in zip(frame[column], frame["column"], strict=True)
    }
    return [label for _, label in sorted(pairs)]


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _image(record: Mapping[Hashable, Any], folder: Path, thumbnail_of: Thumbnail) -> dict[str, Any]:
    """Thumbnail, link and size of one sample's picture; what is wrong with it where it cannot be shown."""
    if record["status"] != "ok":
        return {}
    source = Path(str(record["parts"]["sample"]))
    try:
        thumbnail = thumbnail_of(source)
        if thumbnail is None:
            return {"problem": f"no picture of a {source.suffix} file"}
        width, height = thumbnail.size
    except (OSError, ValueError) as error:
        reason = "the file is missing" if isinstance(error, FileNotFoundError) else "the file cannot be read"
        return {"problem": f"no image: {reason}"}
    thumbnail.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    buffer = io.BytesIO()
    is_small = max(width, height) <= PIXELATED_SIZE
    thumbnail.save(buffer, "WEBP", lossless=is_small, quality=85)
    return {
        "thumbnail": "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"),
        "href": quote(Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()),
        "width": width,
        "height": height,
        "pixelated": is_small,
    }


def _json_for_html(content: object) -> str:
    """JSON that no HTML parser can leave: every `<`, `>` and `&` is escaped; NaN and infinity become null."""
    text = json.dumps(
        _finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str
    )
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _csp_hash(text: str) -> str:
    """The `sha256-…` source of a Content-Security-Policy for an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
