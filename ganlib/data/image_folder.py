"""Folders of images, decoded on access."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganlib.data import image_files
from ganlib.data.frames import close_names
from ganlib.data.image_files import Header
from ganlib.data.image_values import MAX_SIDE, MIN_SIDE, from_bytes, spec_of_sides
from ganlib.data.order import check_batch_size
from ganlib.errors import ConfigError, DataError
from serving.table.pictures import SUFFIXES


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
            headers = [image_files.read_header(file) for file in self.files]
            channels = channels or (1 if all(header.grey for header in headers) else 3)
            height, width = (size, size) if size else _common_size(self.path, self.files, headers)
        else:
            height = width = size
        self.spec = spec_of_sides(channels, height, width, len(self.classes))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """One image ``(c, h, w)`` and its class index (None without labels); use ``load`` for several."""
        try:
            index = operator.index(index)
        except TypeError as error:
            raise DataError(f"one image is chosen by a whole number, not {index!r}; use load() for several") from error
        image = from_bytes(torch.from_numpy(self._pixels(index)).permute(2, 0, 1))
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
        tensors = self.load_bytes(indices)
        return {**tensors, "x": from_bytes(tensors["x"])}

    def load_bytes(self, indices: Sequence[int] | Tensor | None = None) -> dict[str, Tensor]:
        """The same with ``x`` as uint8, a quarter of the memory; a Trainer converts each batch on its device."""
        rows = np.arange(len(self)) if indices is None else np.asarray(indices)
        if rows.dtype == bool and rows.shape == (len(self),):
            rows = np.flatnonzero(rows)
        if rows.ndim != 1 or (len(rows) and not np.issubdtype(rows.dtype, np.integer)):
            raise DataError(f"images are chosen by whole numbers or by a mask of {len(self)}; got {indices!r}")
        if not len(rows):
            raise DataError(f"there is no image to load: {indices!r} chooses none of {len(self)}")
        chosen = [int(row) for row in rows]
        depth, height, width = self.spec.shape
        pixels = np.empty((len(chosen), height, width, depth), np.uint8)
        for row, index in enumerate(chosen):
            pixels[row] = self._pixels(index)
        tensors = {"x": torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()}
        if self.labels is not None:
            tensors["y"] = torch.tensor([self.labels[index] for index in chosen])
        return tensors

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[dict[str, Tensor]]:
        """Every image once, ``batch_size`` decoded at a time (the last batch may be smaller).

        The order is random by ``generator``, or by name without one.
        """
        check_batch_size(batch_size)
        order = torch.arange(len(self)) if generator is None else _permutation(len(self), generator)
        return (self.load(part) for part in order.split(batch_size))

    def _pixels(self, index: int) -> np.ndarray:
        depth, height, width = self.spec.shape
        pixels = image_files.decode(self.files[index], self._size, depth)
        if pixels.shape[:2] != (height, width):
            found = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise DataError(f"{self.files[index]} is {found} and not {width} x {height}; give size=... to resize all")
        return pixels


def _permutation(rows: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(rows, generator=generator, device=generator.device).cpu()


def _check_options(size: int | None, channels: int | None, labels: str) -> None:
    if size is not None and not (isinstance(size, Integral) and MIN_SIDE <= size <= MAX_SIDE):
        raise ConfigError(f"size must be one whole number of {MIN_SIDE} to {MAX_SIDE} pixels, not {size!r}")
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels must be 1 (grey) or 3 (colour), not {channels}")
    if labels not in ("folder", "none"):
        raise ConfigError(f"labels must be 'folder' or 'none', not {labels!r}")


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


def _common_size(folder: Path, files: Sequence[Path], headers: Sequence[Header]) -> tuple[int, int]:
    """Height and width of all files."""
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if (header.width, header.height) != (first.width, first.height):
            names = f"{files[0].relative_to(folder)} is {first.width} x {first.height} and "
            names += f"{file.relative_to(folder)} is {header.width} x {header.height} pixels"
            raise DataError(f"the images of {folder} differ in size: {names}; give size=64, say, to make them alike")
    return first.height, first.width
