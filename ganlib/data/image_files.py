"""Image files: reading headers and decoding pixels. Pillow is imported only when a file is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganlib.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 26
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
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
    from PIL import Image

    try:
        # Only these decoders: some of Pillow's others start programs or follow references.
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except (ConfigError, DataError):
        raise
    except PermissionError as error:
        raise ConfigError(f"{path} may not be read; fix its permissions") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} has more than {MAX_PIXELS:,} pixels; shrink it first") from error
    except Exception as error:  # each decoder raises its own types
        reason = " ".join(str(error).split()).replace(str(path), "the file")[:200] or type(error).__name__
        raise DataError(f"{path} is not a readable image ({reason}); save it again or remove it") from error


def read_header(path: Path) -> Header:
    """Read a file's header; raises DataError if it cannot be read."""
    with _opened(path) as image:
        width, height = image.size
        if _lies_on_its_side(image):
            width, height = height, width
        return Header(width, height, image.mode in _GREY)


def _lies_on_its_side(image: Image.Image) -> bool:
    # Pillow reports TIFF sizes upright, and decodes a whole PNG to look for EXIF behind its pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return False
    return image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def decode(path: Path, size: int | None, channels: int) -> np.ndarray:
    """Bytes ``(h, w, channels)`` of one file."""
    from PIL import Image, ImageOps

    with _opened(path) as image:
        image.load()
        plain = _plain(ImageOps.exif_transpose(image), path)
        plain = plain.convert("L" if channels == 1 else "RGB")
        if size is not None:
            plain = ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC)
        return np.array(plain).reshape(plain.height, plain.width, channels)


def _plain(image: Any, path: Path) -> Image.Image:
    """Grey or RGB in 8 bits, without transparency."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(f"{path} has 32-bit values of unknown range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        see_through = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", see_through.size, "white"), see_through).convert("RGB")
    return image if image.mode in ("1", "L") else image.convert("RGB")
