"""A page of the worst images of a run: each beside its scores of places. Made from the parts and the input, any time.

The folder ``_gallery`` holds ``index.html`` and the pictures that it shows: of image NNN the files ``NNN-image.png``,
``NNN-heat.png``, the image with its high places in red, and ``NNN-map.png``, the column ``map`` (``serving.places``).
"""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from serving.crash import crash_point
from serving.errors import DataError
from serving.files import disk_errors, replacing
from serving.inputs import Input, Reading
from serving.layout import GALLERY
from serving.places import LIMIT
from serving.readers.example import EXAMPLE
from serving.table.examples import Layout, read
from serving.wording import counted

WORST = 48
_SHOWN = ("name", "anomaly_score", "p_value", "map", "top_reasons")
_WHITE = 255.0
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; border: 1px solid #ddd; border-radius: 6px; padding: .6rem; }
figure div { display: flex; gap: .4rem; }
figure img { width: 50%; image-rendering: pixelated; background: #eee; }
figcaption { font-size: 13px; overflow-wrap: anywhere; margin-top: .4rem; }
"""


@dataclass(frozen=True)
class _Row:
    """An anomaly: where it lies in the input, and its columns."""

    source: str
    row: int
    values: Mapping[str, Any]


def write_gallery(folder: Path, manifest: Mapping[str, Any], inputs: Mapping[str, Input], layout: Layout) -> Path:
    """Write the page of the highest scores among the anomalies; returns its path. An earlier page is replaced.

    The page itself is deleted first and written last, so that pictures without it are of a run that was cut off.
    """
    page = page_of(folder)
    with disk_errors(f"in {folder}"):
        page.unlink(missing_ok=True)
        shutil.rmtree(page.parent, ignore_errors=True)
        page.parent.mkdir()
        rows = _worst(folder, manifest)
        images = _images(rows, inputs, layout)
        figures = [_figure(page.parent, number, row, images[number]) for number, row in enumerate(rows)]
        crash_point("pictures_written")
        with replacing(page) as file:
            file.write_text(_page(figures, manifest), encoding="utf-8")
    return page


def page_of(folder: Path) -> Path:
    """The page of a run, which exists once it is complete."""
    return folder / GALLERY / "index.html"


def _worst(folder: Path, manifest: Mapping[str, Any]) -> list[_Row]:
    """The anomalies with the highest scores, read one part at a time."""
    worst: list[_Row] = []
    for part in manifest["parts"]:
        file = folder / part["part"]
        held = [name for name in ("source", "source_row", *_SHOWN) if name in pq.read_schema(file).names]
        table = pq.read_table(file, columns=held, filters=[("is_anomaly", "=", True)])
        table = table.sort_by([("anomaly_score", "descending")]).slice(0, WORST)
        worst += [_Row(values["source"], values["source_row"], values) for values in table.to_pylist()]
        worst = sorted(worst, key=lambda row: -row.values["anomaly_score"])[:WORST]
    return worst


def _images(rows: Sequence[_Row], inputs: Mapping[str, Input], layout: Layout) -> dict[int, np.ndarray | str]:
    """The image of each row as uint8 ``(h, w, 3)``, or why it can no longer be read; files are read once, forward."""
    reading, found = Reading(), dict[int, np.ndarray | str]()
    for number, row in sorted(enumerate(rows), key=lambda item: (item[1].source, item[1].row)):
        try:
            found[number] = _image(reading, inputs[row.source], row.row, layout)
        except DataError as error:
            found[number] = str(error)
    return found


def _figure(place: Path, number: int, row: _Row, image: np.ndarray | str) -> str:
    """Write the pictures of an anomaly; returns its part of the page."""
    name = f"{number + 1:03d}"
    (place / f"{name}-map.png").write_bytes(row.values["map"])
    said = [f"score {row.values['anomaly_score']:.4g}, p = {row.values['p_value']:.2g}", row.values["top_reasons"]]
    title = row.values.get("name") or f"{row.source}, row {row.row}"
    shown = [f"{name}-map.png"]
    if isinstance(image, str):
        said.append(f"the image cannot be shown: {image}")
    else:
        _save(image, place / f"{name}-image.png")
        _save(_heated(image, row.values["map"]), place / f"{name}-heat.png")
        shown = [f"{name}-image.png", f"{name}-heat.png"]
    pictures = "".join(f'<img src="{file}" alt="" loading="lazy">' for file in shown)
    words = "<br>".join(html.escape(str(part)) for part in said if part)
    return f"<figure><div>{pictures}</div><figcaption><b>{html.escape(str(title))}</b><br>{words}</figcaption></figure>"


def _page(figures: Sequence[str], manifest: Mapping[str, Any]) -> str:
    scored = counted(manifest["rows"], "image")
    line = f"{counted(manifest['anomalies'], 'anomaly', 'anomalies')} at alpha {manifest['alpha']:g} in {scored}"
    model = " version ".join(filter(None, [manifest["model_name"], manifest["model_version"]]))
    more = f"the {len(figures)} of highest score are shown" if figures else "there is nothing to show"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(line)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Worst images</h1>"
        f"<p>{html.escape(line)}, scored by {html.escape(model)}; {more}. Red marks places above the limit, "
        "the strongest those highest in the image. The map of each image is the file ending in -map.png.</p>"
        f"<main>{''.join(figures)}</main></body></html>\n"
    )


def _image(reading: Reading, source: Input, row: int, layout: Layout) -> np.ndarray:
    """An image of the input as uint8 ``(h, w, 3)``; raises DataError if it can no longer be read."""
    for piece in reading.pieces(source, [EXAMPLE], row, row + 1, [EXAMPLE], [EXAMPLE]):
        made, bad = read(piece.table.column(EXAMPLE), layout, 1)
        if piece.broken or bad:
            raise DataError(piece.broken[0].reason if piece.broken else bad[0][1])
        return _colours(made[0], layout)
    raise DataError(f"{source.path} has no row {row}")


def _colours(example: np.ndarray, layout: Layout) -> np.ndarray:
    pixels = example.astype(np.float64)
    if layout.low is not None:
        pixels = (pixels - layout.low) / (1 - layout.low) * _WHITE
    if layout.channels == "first":
        pixels = pixels.transpose(1, 2, 0)
    elif layout.channels is None:
        pixels = pixels[:, :, None]
    return np.repeat(np.rint(pixels.clip(0, _WHITE)), 3 // pixels.shape[2], axis=2).astype(np.uint8)


def _heated(image: np.ndarray, places: bytes) -> np.ndarray:
    """The image with its high places in red."""
    from PIL import Image

    with Image.open(io.BytesIO(places)) as opened:
        above = np.maximum(np.asarray(opened, np.float64)[:, :, None] - LIMIT, 0)
    part = above / max(above.max(), 1) * 0.8
    return np.rint(image * (1 - part) + np.array([_WHITE, 0, 0]) * part).astype(np.uint8)


def _save(pixels: np.ndarray, file: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(file, format="PNG")
