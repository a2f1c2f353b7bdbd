"""Images as tensors ``(n, channels, height, width)`` in [-1, 1]: from arrays, from folders, all at once or lazily.

Pillow decodes the files and is imported only then. Grey images have one channel, colour images three (RGB).
"""

from __future__ import annotations

import hashlib
import logging
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ganlib.data.frames import close_names
from ganlib.data.order import Order, epoch_seed
from ganlib.data.spec import DataSpec
from ganlib.data.transforms import check_transform
from ganlib.errors import ConfigError, DataError
from serving.table import pictures
from serving.table.pictures import MAX_PIXELS as MAX_PIXELS
from serving.table.pictures import SUFFIXES

if TYPE_CHECKING:
    from PIL import Image

MIN_SIDE, MAX_SIDE = 8, 256
_ORIENTATION = 0x0112
# Rounding may carry a value a little beyond its range.
_SLACK = 1e-5
_TRANSFORMS = 0x6175676D  # the stream of random numbers that transforms draw
_log = logging.getLogger(__name__)

Channels = Literal["first", "last"]
Values = Literal["unit", "signed"]


def image_spec(images: Tensor, classes: int = 0) -> DataSpec:
    """The specification of ``images`` ``(n, c, h, w)``: shape ``(c, h, w)`` and the number of classes.

    Raises DataError unless they are floating point with 1 or 3 channels and sides of 8 to 256 pixels.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise DataError(
            f"images are floats of shape (n, channels, height, width); got {_shape(images.shape)} of "
            f"{str(images.dtype).removeprefix('torch.')}. Convert them with to_tensor"
        )
    return _spec(images.shape[1], images.shape[2], images.shape[3], classes)


def to_tensor(array: np.ndarray | Tensor, channels: Channels | None = None, values: Values | None = None) -> Tensor:
    """Convert images to float32 ``(n, c, h, w)`` in [-1, 1].

    ``array`` is ``(n, h, w)`` (grey), ``(n, h, w, c)`` or ``(n, c, h, w)``; ``channels`` decides between the last two
    if both fit. Bytes 0..255 map to [-1, 1] linearly. Floats are "unit" (in [0, 1]) or "signed" (in [-1, 1]); without
    ``values`` they are unit if none is negative, and the choice is logged. Booleans are 0 and 1. Raises DataError for
    other shapes, types or ranges.
    """
    pixels = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    if pixels.size == 0:
        raise DataError(f"there is no image in an array of shape {_shape(pixels.shape)}")
    pixels = _channels_first(pixels, channels)
    if pixels.dtype == np.uint8:
        return torch.from_numpy(np.array(pixels, order="C")).to(torch.float32).div_(127.5).sub_(1)
    return torch.from_numpy(_signed(pixels, values))


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images ``(n, c, h, w)`` in [-1, 1] to bytes ``(n, h, w, c)``; the exact inverse of ``to_tensor``.

    Values outside [-1, 1] are clipped. Raises DataError for other shapes and for non-finite values.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"images have the shape (n, 1 or 3, height, width); got {_shape(images.shape)}")
    pixels = images.detach().to("cpu", torch.float32)
    if not torch.isfinite(pixels).all():
        raise DataError("the images hold values that are not finite; the model that generated them has diverged")
    scaled = pixels.add(1).mul_(127.5).round_().clamp_(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


class ImageFolder:
    """The images below a folder, decoded on access.

    PNG, JPEG, BMP, TIFF (first page) and WebP (first frame) files are found at any depth, in name order; names that
    begin with ``.`` or ``_`` are skipped. Files are turned upright by their EXIF orientation, 16 bits become 8, and
    transparency becomes white.

    - ``size``: resize the shorter side to it and crop a centred square; without it all images must have the same size.
    - ``channels``: 1 or 3; defaults to 3 unless all files are grey (palettes count as colour).
    - ``labels="folder"``: the first sub-folder is the class.

    If ``size`` or ``channels`` is not given, the header of every file is read. Raises ConfigError for a missing folder
    or a wrong option; DataError for a folder without images, different sizes and, on access, corrupt files and files
    of more than 2**26 pixels.
    """

    def __init__(
        self,
        path: str | Path,
        size: int | None = None,
        channels: int | None = None,
        labels: Literal["folder", "none"] = "folder",
    ) -> None:
        self.path = Path(path).expanduser()
        _check_options(size, channels, labels)
        self.files = _find(self.path)
        self.classes: tuple[str, ...] = ()
        self.labels: tuple[int, ...] | None = None
        if labels == "folder":
            self.classes, self.labels = _label(self.path, self.files)
        self._size = size
        if size is None or channels is None:
            headers = [_header(file) for file in self.files]
            channels = channels or (1 if all(header.grey for header in headers) else 3)
            height, width = (size, size) if size else _common_size(self.path, self.files, headers)
        else:
            height = width = size
        self.spec = _spec(channels, height, width, len(self.classes))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """One image ``(c, h, w)`` and its class index (None without labels); use ``load`` for several."""
        try:
            index = operator.index(index)
        except TypeError as error:
            raise DataError(f"one image is chosen by a whole number, not {index!r}; use load() for several") from error
        image = torch.from_numpy(self._pixels(index)).permute(2, 0, 1).to(torch.float32).div_(127.5).sub_(1)
        return image, None if self.labels is None else self.labels[index]

    def digests(self) -> dict[str, str]:
        """A digest of the files' names and bytes; reads all files."""
        known = hashlib.blake2b(digest_size=16)
        for file in self.files:
            data = file.read_bytes()
            known.update(f"{file.relative_to(self.path)} {len(data)}\n".encode() + data)
        return {"files": known.hexdigest()}

    def __iter__(self) -> Iterator[tuple[Tensor, int | None]]:
        return (self[index] for index in range(len(self)))

    def load(self, indices: Sequence[int] | Tensor | None = None) -> dict[str, Tensor]:
        """Load images by indices or a mask (default: all): ``x`` ``(n, c, h, w)`` and, with labels, classes ``y``."""
        rows = np.arange(len(self)) if indices is None else np.asarray(indices)
        if rows.dtype == bool and rows.shape == (len(self),):
            rows = np.flatnonzero(rows)
        if rows.ndim != 1 or (len(rows) and not np.issubdtype(rows.dtype, np.integer)):
            raise DataError(f"images are chosen by whole numbers or by a mask of {len(self)}; got {indices!r}")
        chosen = [int(row) for row in rows]
        depth, height, width = self.spec.shape
        pixels = np.empty((len(chosen), height, width, depth), np.uint8)
        for row, index in enumerate(chosen):
            pixels[row] = self._pixels(index)
        tensors = {"x": to_tensor(pixels, channels="last")}
        if self.labels is not None:
            tensors["y"] = torch.tensor([self.labels[index] for index in chosen])
        return tensors

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[dict[str, Tensor]]:
        """Every image once, ``batch_size`` decoded at a time (the last batch may be smaller).

        The order is random by ``generator``, or by name without one.
        """
        _check_batch_size(batch_size)
        order = torch.arange(len(self)) if generator is None else _permutation(len(self), generator)
        return (self.load(part) for part in order.split(batch_size))

    def _pixels(self, index: int) -> np.ndarray:
        depth, height, width = self.spec.shape
        pixels = _decode(self.files[index], self._size, depth)
        if pixels.shape[:2] != (height, width):
            found = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise DataError(f"{self.files[index]} is {found} and not {width} x {height}; give size=... to resize all")
        return pixels


class Source(Protocol):
    """The data source of LazyImages: an ImageFolder, or any object that loads rows by index.

    If it has ``labels`` (the class index of each row), a trainer checks them all before the first step. If it has
    ``digests()`` (strings by name that identify the data), a trainer rejects checkpoints of other data.
    """

    def __len__(self) -> int: ...

    def load(self, indices: Sequence[int] | Tensor | None = None) -> dict[str, Tensor]:
        """Tensors by name of these rows."""


class LazyImages:
    """Shuffled mini-batches that are decoded on demand; a drop-in replacement for TensorBatches.

    The order depends only on (seed, epoch), as in TensorBatches, and an incomplete last batch is dropped.
    ``transform(images, generator)`` augments the ``x`` of each batch; its generator also depends only on (seed, epoch).
    ``labels`` are the source's, or None. Raises DataError for an empty source, and ConfigError for an object that is
    not a source and for wrong options.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not callable(getattr(source, "load", None)):
            raise ConfigError(f"LazyImages needs a folder, LazyImages(ImageFolder(path), 32), not {source!r}")
        _check_batch_size(batch_size)
        if transform is not None:
            check_transform(transform, "LazyImages takes")
        if not len(source):
            raise DataError("there are no images to draw from")
        self._order = Order(len(source), min(batch_size, len(source)), seed, shuffle)
        self.source, self.seed, self.shuffle, self.transform = source, seed, shuffle, transform
        self.rows, self.batch_size, self.device = self._order.rows, self._order.batch_size, torch.device(device)
        self.labels: Sequence[int] | Tensor | None = getattr(source, "labels", None)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._order)

    def digests(self) -> dict[str, str]:
        """The digests of the source, if it has any, with the number of images and the sampling options.

        A transform is identified by its repr without addresses, and thus a function by its name.
        """
        drawn = {name: str(getattr(self, name)) for name in ("batch_size", "seed", "shuffle")}
        drawn["transform"] = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.transform))
        digests = getattr(self.source, "digests", dict)
        return {"images": str(len(self.source)), **drawn, **digests()}

    def to(self, device: torch.device | str) -> LazyImages:
        """The same batches, delivered on a device."""
        return LazyImages(self.source, self.batch_size, self.seed, self.shuffle, self.transform, device)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, one in memory at a time."""
        # A separate random stream from the one that shuffles the rows.
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, number, _TRANSFORMS))
        for rows in self._order.batches(number):
            tensors = self.source.load(rows)
            if self.transform is not None:
                tensors["x"] = self.transform(tensors["x"], generator)
            yield {name: value.to(self.device) for name, value in tensors.items()}


# -------------------------------------------------------------------- arrays
def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _spec(channels: int, height: int, width: int, classes: int) -> DataSpec:
    if channels not in (1, 3):
        raise DataError(f"images have 1 (grey) or 3 (colour) channels, not {channels}")
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise DataError(
            f"images of {width} x {height} pixels are outside {MIN_SIDE}..{MAX_SIDE}; resize them, e.g. with "
            "ImageFolder(..., size=64)"
        )
    return DataSpec.image(channels, height, width, classes)


def _channels_first(pixels: np.ndarray, channels: Channels | None) -> np.ndarray:
    shape = _shape(pixels.shape)
    if pixels.ndim == 3:
        if pixels.shape[2] in (1, 3, 4) and pixels.shape[1] >= MIN_SIDE:  # else many small ones
            raise DataError(f"shape {shape} looks like a single image; give several, or array[None]")
        return pixels[:, None]
    if pixels.ndim != 4:
        raise DataError(f"images have the shape (n, h, w), (n, h, w, c) or (n, c, h, w); got {shape}")
    axes = {"first": 1, "last": 3}
    fitting = [name for name, axis in axes.items() if pixels.shape[axis] in (1, 3)]
    if channels is None and len(fitting) == 2:
        raise DataError(f"in shape {shape} either axis may hold the channels; say channels='first' or 'last'")
    chosen = channels or (fitting[0] if fitting else None)
    if chosen not in fitting:
        where = f" in its {chosen} axis" if chosen in axes else ""
        raise DataError(f"shape {shape} has not 1 or 3 channels{where}; drop an alpha channel with array[..., :3]")
    return pixels if chosen == "first" else np.moveaxis(pixels, 3, 1)


def _signed(pixels: np.ndarray, values: Values | None) -> np.ndarray:
    """Floats or booleans as a fresh, contiguous float32 array in [-1, 1]."""
    if values not in (None, "unit", "signed"):
        raise ConfigError(f"values must be 'unit' or 'signed', not {values!r}")
    if pixels.dtype.kind not in "fb":
        raise DataError(f"pixels are bytes (uint8) or floats, not {pixels.dtype}; use array.astype('uint8') for 0..255")
    floats = np.array(pixels, dtype=np.float32, order="C")
    low, high = float(floats.min()), float(floats.max())
    if not np.isfinite(floats).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(floats))} pixel values are not finite; fix or drop them")
    unit = values == "unit" or (values is None and low >= -_SLACK)
    if values is None and pixels.dtype.kind == "f":
        _log.info("pixels from %.4g to %.4g are taken as %s", low, high, "[0, 1]" if unit else "[-1, 1]")
    if low < (0 if unit else -1) - _SLACK or high > 1 + _SLACK:
        wanted = "[0, 1]" if unit else "[-1, 1]"
        fix = "scale them to it"
        if low >= 0:
            fix = "divide them by the largest value that a pixel can have" + (", 255 for bytes" if high > 100 else "")
        raise DataError(
            f"float pixels must lie in [0, 1] or [-1, 1]; taken as {wanted}, they run from {low:g} to {high:g}; {fix}"
        )
    return np.clip(floats * 2 - 1 if unit else floats, -1, 1)


def _permutation(rows: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(rows, generator=generator, device=generator.device).cpu()


# -------------------------------------------------------------------- folders
def _check_options(size: int | None, channels: int | None, labels: str) -> None:
    if size is not None and not (isinstance(size, Integral) and MIN_SIDE <= size <= MAX_SIDE):
        raise ConfigError(f"size must be one whole number of {MIN_SIDE} to {MAX_SIDE} pixels, not {size!r}")
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels must be 1 (grey) or 3 (colour), not {channels}")
    if labels not in ("folder", "none"):
        raise ConfigError(f"labels must be 'folder' or 'none', not {labels!r}")


def _check_batch_size(batch_size: int) -> None:
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number, at least 1, not {batch_size!r}")


def _hidden(parts: Sequence[str]) -> bool:
    return any(part[0] in "._" for part in parts)


def _find(folder: Path) -> tuple[Path, ...]:
    if folder.is_file():
        raise ConfigError(f"{folder} is a file; give the folder that holds the images")
    if not folder.is_dir():
        near = close_names(folder.name, [p.name for p in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
        raise ConfigError(f"there is no folder {folder}{'; ' + near if near.startswith('did you') else ''}")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    files = tuple(p for p in found if not _hidden(p.relative_to(folder).parts))
    if not files:
        raise DataError(f"{folder} holds no image; put files ending in {', '.join(SUFFIXES)} into it")
    return files


def _label(folder: Path, files: Sequence[Path]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and each file's class index."""
    parts = [file.relative_to(folder).parts for file in files]
    if loose := next((part[0] for part in parts if len(part) == 1), None):
        raise DataError(
            f"{folder / loose} lies in no class folder; put each image into a sub-folder named after its class, or "
            "give labels='none'"
        )
    classes = tuple(sorted({part[0] for part in parts}))
    # An empty folder would shift the numbers of the classes after it.
    folders = {p.name for p in folder.iterdir() if p.is_dir() and not _hidden([p.name])}
    if empty := sorted(folders - set(classes)):
        raise DataError(f"the class folder {folder / empty[0]} holds no image; fill it, or remove it")
    return classes, tuple(classes.index(part[0]) for part in parts)


def _common_size(folder: Path, files: Sequence[Path], headers: Sequence[_Header]) -> tuple[int, int]:
    """Height and width of all files."""
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if (header.width, header.height) != (first.width, first.height):
            names = f"{files[0].relative_to(folder)} is {first.width} x {first.height} and "
            names += f"{file.relative_to(folder)} is {header.width} x {header.height} pixels"
            raise DataError(f"the images of {folder} differ in size: {names}; give size=64, say, to make them alike")
    return first.height, first.width


# -------------------------------------------------------------------- files
@dataclass(frozen=True)
class _Header:
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


def _header(path: Path) -> _Header:
    with _opened(path) as image:
        width, height = image.size
        if _lies_on_its_side(image):
            width, height = height, width
        return _Header(width, height, pictures.is_grey(image))


def _lies_on_its_side(image: Image.Image) -> bool:
    # Pillow reports TIFF sizes upright, and decodes a whole PNG to look for EXIF behind its pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return False
    return image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def _decode(path: Path, size: int | None, channels: int) -> np.ndarray:
    """Bytes ``(h, w, channels)`` of one file."""
    from PIL import Image, ImageOps

    with _opened(path) as image:
        plain = pictures.upright(image).convert("L" if channels == 1 else "RGB")
        if size is not None:
            plain = ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC)
        return np.array(plain).reshape(plain.height, plain.width, channels)
