"""Image files: reading headers and decoding pixels. Pillow is imported only when a file is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganlib.errors import ConfigError, DataError
from serving.table import pictures

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """Size and colour of an upright image."""

    width: int
    height: int
    grey: bool


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image and read its header; errors while it is open name the file."""
    try:
        with pictures.opened(path) as image:
            yield image
    except PermissionError as error:
        raise ConfigError(f"{path} may not be read; fix its permissions") from error
    except pictures.PictureRefused as error:
        raise DataError(f"{path} {error}") from error


def read_header(path: Path) -> Header:
    """Read a file's header; raises DataError if it cannot be read."""
    with _opened(path) as image:
        width, height = image.size
        if _lies_on_its_side(image):
            width, height = height, width
        return Header(width, height, pictures.is_grey(image))


def _lies_on_its_side(image: Image.Image) -> bool:
    # Pillow reports TIFF sizes upright, and decodes a whole PNG to look for EXIF behind its pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return False
    return image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def decode(path: Path, size: int | None, channels: int) -> np.ndarray:
    """Bytes ``(h, w, channels)`` of one file."""
    from PIL import Image, ImageOps

    with _opened(path) as image:
        plain = pictures.upright(image).convert("L" if channels == 1 else "RGB")
        if size is not None:
            plain = ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC)
        return np.array(plain).reshape(plain.height, plain.width, channels)
