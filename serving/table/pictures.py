"""Decodes image files for training and scoring. Pillow is imported only when an image is opened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 1 << 26
# Only these decoders: some of Pillow's others start programs or follow references.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")


class PictureRefused(ValueError):
    """An image cannot be decoded; the message is a predicate with its fix: ``is not a readable image; ...``."""


def need_pillow() -> None:
    """Raise UsageError if Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise UsageError("reading image files needs an extra: pip install 'ganlib[images]'") from error


@contextmanager
def opened(file: str | Path | io.BytesIO) -> Iterator[Image.Image]:
    """Open an image and read its header.

    Raises PictureRefused for anything wrong with it, also while the caller decodes it, PermissionError, and UsageError
    without Pillow.
    """
    need_pillow()
    from PIL import Image

    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except (PictureRefused, PermissionError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureRefused(f"has more than {MAX_PIXELS:,} pixels; shrink it first") from error
    except Exception as error:  # each decoder raises its own types
        reason = " ".join(str(error).split()).replace(str(file), "the file")[:200] or type(error).__name__
        raise PictureRefused(f"is not a readable image ({reason}); save it again or remove it") from error


def is_grey(image: Image.Image) -> bool:
    """Whether an image has one channel; palettes count as colour."""
    return image.mode in _GREY


def upright(image: Image.Image) -> Image.Image:
    """Decode an image: grey or RGB in 8 bits, turned by its EXIF orientation, with transparency as white.

    Raises PictureRefused for values of unknown range.
    """
    from PIL import ImageOps

    image.load()
    return _plain(ImageOps.exif_transpose(image))


def _plain(image: Any) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise PictureRefused("has 32-bit values of unknown range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        see_through = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", see_through.size, "white"), see_through).convert("RGB")
    return image if image.mode in ("1", "L") else image.convert("RGB")


def decode(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of an encoded image: uint8 ``(h, w)`` if it is grey, ``(h, w, 3)`` if it has colours.

    An image of another ``size`` (height, width) is rejected before it is decoded. Raises PictureRefused and UsageError,
    as ``opened``.
    """
    with opened(io.BytesIO(data)) as image:
        if size is not None and sorted(image.size) != sorted(size):
            raise _other_size(image.height, image.width, size)
        mode = "L" if is_grey(image) else "RGB"
        pixels = np.array(upright(image).convert(mode))
        if size is not None and pixels.shape[:2] != size:
            raise _other_size(len(pixels), pixels.shape[1], size)
        return pixels


def _other_size(height: int, width: int, size: tuple[int, int]) -> PictureRefused:
    return PictureRefused(f"is {width} x {height} pixels, where the model takes {size[1]} x {size[0]}")
