"""Images as tensors ``(n, channels, height, width)`` in [-1, 1]: from arrays, from folders, all at once or lazily.

Pillow decodes the files and is imported only then. Grey images have one channel, colour images three (RGB).
"""

from ganlib.data.image_folder import ImageFolder
from ganlib.data.image_values import (
    MAX_SIDE,
    MIN_SIDE,
    Channels,
    Values,
    from_bytes,
    image_spec,
    to_tensor,
    to_uint8,
)
from ganlib.data.lazy_images import ByteSource, ImageSource, LazyImages
from serving.table.pictures import MAX_PIXELS, SUFFIXES

__all__ = [
    "MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "SUFFIXES", "ByteSource", "Channels", "ImageFolder", "ImageSource",
    "LazyImages", "Values", "from_bytes", "image_spec", "to_tensor", "to_uint8",
]  # fmt: skip
