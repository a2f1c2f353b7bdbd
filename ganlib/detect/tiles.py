"""Large images in tiles: a detector of tiles scores an image by its most anomalous one.

The tiles of an image are equal and do not overlap. Where a side is not divisible, the last few pixels are left out,
fewer than there are tiles along it. All tiles train one model, wherever they lie: a texture that is usual in one corner
is usual everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganlib.data.fields import Image
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError

LARGEST, SIDE = 256, 128  # pixels: larger images are divided into tiles of this side, about
_LEAST = 8


@dataclass(frozen=True)
class Tiles:
    """``rows`` x ``columns`` tiles of ``height`` x ``width`` pixels."""

    rows: int
    columns: int
    height: int
    width: int

    @property
    def count(self) -> int:
        """Tiles of an image."""
        return self.rows * self.columns

    def spec(self, channels: int) -> DataSpec:
        """The data of a detector of tiles."""
        return DataSpec.of(Image(channels, self.height, self.width))

    def cut(self, x: Tensor) -> Tensor:
        """The tiles of images ``(n, channels, h, w)``, image by image: ``(n · count, channels, height, width)``."""
        inside = x[:, :, : self.rows * self.height, : self.columns * self.width]
        parts = inside.reshape(-1, x.shape[1], self.rows, self.height, self.columns, self.width)
        return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, x.shape[1], self.height, self.width)


def tiles_of(spec: DataSpec, side: int | None) -> Tiles | None:
    """How images are divided: into tiles of about ``side`` pixels, by default only images larger than 256 pixels.

    None if they are not divided. Raises ConfigError for tiles of other data, and for tiles that are too small.
    """
    if spec.kind != "image":
        if side is None:
            return None
        raise ConfigError("tile divides images; this data are none")
    height, width = spec.shape[1:]
    if side is None:
        if max(height, width) <= LARGEST:
            return None
        side = SIDE
    if side < _LEAST:
        raise ConfigError(f"tile={side} is too small: give at least {_LEAST} pixels")
    rows, columns = (-(-size // side) for size in (height, width))
    return Tiles(rows, columns, height // rows, width // columns) if rows * columns > 1 else None


class TileScore(nn.Module):
    """``(n, c, h, w) -> (n,)``: the highest score of an image's tiles."""

    def __init__(self, scorer: nn.Module, tiles: Tiles) -> None:
        super().__init__()
        self.scorer, self.tiles = scorer, tiles

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        scores = self.scorer(self.tiles.cut(x)).reshape(-1, self.tiles.count)
        return -(-scores).amin(1)  # sealed graphs have no maximum over an axis


class TilePlaces(nn.Module):
    """``(n, c, h, w) -> (n, rows, columns)``: the places of all tiles, side by side."""

    def __init__(self, locator: nn.Module, tiles: Tiles) -> None:
        super().__init__()
        self.locator, self.tiles = locator, tiles

    def forward(self, x: Tensor) -> Tensor:
        """Score places."""
        tiles, places = self.tiles, self.locator(self.tiles.cut(x))
        high, wide = places.shape[1:]
        parts = places.reshape(-1, tiles.rows, tiles.columns, high, wide).permute(0, 1, 3, 2, 4)
        return parts.reshape(-1, tiles.rows * high, tiles.columns * wide)
