"""Arrays and files become tensors in [-1, 1] and back; each way a folder can be wrong has its message."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
import torch

from ganlib.data import image_files as module
from ganlib.data.images import ImageFolder, image_spec, to_tensor, to_uint8
from ganlib.errors import ConfigError, DataError
from tests.ganlib.data.image_set import count_decoding, noise, save

Image = pytest.importorskip("PIL.Image")


def only(folder, **options):
    """The bytes of the folder's only image."""
    images = ImageFolder(folder, labels="none", **options)
    assert len(images) == 1
    return to_uint8(images[0][0][None])[0]


class TestArrays:
    def test_every_byte_survives_the_round_trip(self):
        array = np.arange(768, dtype=np.uint32).astype(np.uint8).reshape(1, 16, 16, 3)
        tensor = to_tensor(array)
        assert tensor.shape == (1, 3, 16, 16) and tensor.dtype == torch.float32 and tensor.is_contiguous()
        assert tensor.min() == -1 and tensor.max() == 1
        assert np.array_equal(to_uint8(tensor), array)

    def test_layouts(self):
        grey, colour = noise(2, 9, 11), noise(2, 9, 11, 3)
        assert np.array_equal(to_uint8(to_tensor(grey))[..., 0], grey)
        assert torch.equal(to_tensor(colour.transpose(0, 3, 1, 2)), to_tensor(colour))
        assert torch.equal(to_tensor(torch.from_numpy(colour)), to_tensor(colour))
        assert torch.equal(to_tensor(grey[::-1]), to_tensor(grey).flip(0))

    def test_an_ambiguous_axis_is_asked_for(self):
        array = noise(2, 3, 9, 3)
        with pytest.raises(DataError, match="2 x 3 x 9 x 3 either axis.*channels='first' or 'last'"):
            to_tensor(array)
        assert to_tensor(array, channels="first").shape == (2, 3, 9, 3)
        assert to_tensor(array, channels="last").shape == (2, 3, 3, 9)

    @pytest.mark.parametrize(
        "shape, message",
        [
            ((28, 28, 3), "looks like a single image"),
            ((28, 28), "have the shape"),
            ((2, 9, 9, 4), "alpha"),
            ((0, 9, 9), "no image"),
        ],
    )
    def test_other_shapes_are_refused(self, shape, message):
        with pytest.raises(DataError, match=message):
            to_tensor(np.zeros(shape, np.uint8))

    def test_a_named_axis_must_hold_channels(self):
        with pytest.raises(DataError, match="not 1 or 3 channels in its first axis"):
            to_tensor(noise(2, 9, 9, 3), channels="first")

    def test_floats_are_unit_or_signed_and_the_log_says_which(self, caplog):
        caplog.set_level(logging.INFO, "ganlib.data.images")
        unit, signed = np.array([0, 0.25, 1]).reshape(1, 1, 3), np.array([-1, 0.25, 1]).reshape(1, 1, 3)
        unit, signed = np.tile(unit, (1, 8, 3)), np.tile(signed, (1, 8, 3))
        assert to_tensor(unit)[0, 0, 0, :3].tolist() == [-1, -0.5, 1]
        assert "from 0 to 1 are taken as [0, 1]" in caplog.messages[-1]
        assert to_tensor(signed)[0, 0, 0, :3].tolist() == [-1, 0.25, 1]
        assert "taken as [-1, 1]" in caplog.messages[-1]
        assert to_tensor(unit, values="signed")[0, 0, 0, :3].tolist() == [0, 0.25, 1]
        assert to_tensor(unit == 1)[0, 0, 0, :3].tolist() == [-1, -1, 1]
        assert len(caplog.messages) == 2

    @pytest.mark.parametrize(
        "array, values, message",
        [
            (np.full((1, 8, 8), 200.0), None, "from 200 to 200; divide them by .* 255 for bytes"),
            (np.full((1, 8, 8), -3.0), None, r"taken as \[-1, 1\], they run from -3 to -3; scale"),
            (np.full((1, 8, 8), -0.5), "unit", r"taken as \[0, 1\]"),
            (np.full((1, 8, 8), np.nan), None, "64 pixel values are not finite"),
            (np.full((1, 8, 8), 7), None, "not int64; use array.astype"),
        ],
    )
    def test_other_ranges_are_refused(self, array, values, message):
        with pytest.raises(DataError, match=message):
            to_tensor(array, values=values)

    def test_the_argument_is_left_as_it_was(self):
        array = np.full((1, 8, 8), 0.25, np.float32)
        to_tensor(array).add_(1)
        assert (array == 0.25).all()

    def test_bytes_clip_and_refuse(self):
        assert to_uint8(torch.tensor([-7.0, 0.0, 7.0]).view(1, 1, 1, 3)).ravel().tolist() == [0, 128, 255]
        with pytest.raises(DataError, match="not finite"):
            to_uint8(torch.full((1, 1, 8, 8), torch.nan))
        with pytest.raises(DataError, match="1 or 3, height"):
            to_uint8(torch.zeros(1, 2, 8, 8))

    def test_the_specification(self):
        spec = image_spec(torch.zeros(5, 3, 32, 28), classes=7)
        assert spec.shape == (3, 32, 28) and spec.classes == 7 and spec.dim == 3 * 32 * 28
        for bad in (torch.zeros(1, 1, 7, 8), torch.zeros(1, 1, 8, 257), torch.zeros(1, 2, 8, 8), torch.zeros(1, 8, 8)):
            with pytest.raises(DataError):
                image_spec(bad)
        with pytest.raises(DataError, match="4 x 4 pixels are outside"):
            image_spec(to_tensor(np.zeros((24, 4, 4), np.uint8)))
        with pytest.raises(DataError, match="of uint8. Convert them with to_tensor"):
            image_spec(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


class TestFolder:
    def test_classes_are_sorted_folder_names(self, tree):
        folder, pixels = tree
        images = ImageFolder(folder)
        assert images.classes == ("cat", "dog") and len(images) == 5
        assert [file.name for file in images.files] == ["a.png", "c.bmp", "b.png", "a.png", "b.tiff"]
        assert images.spec.shape == (1, 10, 12) and images.spec.classes == 2
        loaded = images.load()
        assert np.array_equal(to_uint8(loaded["x"])[..., 0], pixels[[0, 2, 1, 3, 4]])
        assert loaded["y"].tolist() == [0, 0, 0, 1, 1] and loaded["y"].dtype == torch.int64
        assert image_spec(loaded["x"], 2) == images.spec

    def test_one_image_and_some(self, tree):
        images = ImageFolder(tree[0])
        whole = images.load()
        image, label = images[3]
        assert torch.equal(image, whole["x"][3]) and label == 1
        some = images.load(torch.tensor([4, 0]))
        assert torch.equal(some["x"], whole["x"][[4, 0]]) and some["y"].tolist() == [1, 0]
        assert [label for _, label in images] == [0, 0, 0, 1, 1]

    def test_some_by_a_mask(self, tree):
        folder = ImageFolder(tree[0])
        mask = np.arange(len(folder)) % 2 == 1
        some, all_ = folder.load(mask), folder.load()
        assert len(some["x"]) == mask.sum()
        assert all(torch.equal(some[name], all_[name][torch.from_numpy(mask)]) for name in all_)
        with pytest.raises(DataError, match=f"a mask of {len(folder)}"):
            folder.load(mask[1:])

    def test_without_labels(self, tree):
        images = ImageFolder(tree[0], labels="none", channels=3)
        assert images.classes == () and images.spec.classes == 0 and images.spec.shape == (3, 10, 12)
        assert set(images.load([0])) == {"x"} and images[0][1] is None
        assert torch.equal(images[0][0][0], images[0][0][2])

    def test_colour_if_any_file_is(self, tree):
        save(tree[0] / "dog" / "z.png", noise(10, 12, 3))
        assert ImageFolder(tree[0]).spec.shape == (3, 10, 12)
        assert ImageFolder(tree[0], channels=1).spec.shape == (1, 10, 12)

    def test_batches_decode_only_what_is_drawn(self, tree, monkeypatch):
        decoded = count_decoding(monkeypatch)
        images = ImageFolder(tree[0])
        assert not decoded
        drawn = images.batches(2)
        first = next(drawn)
        assert [path.name for path in decoded] == ["a.png", "c.bmp"] and first["x"].shape == (2, 1, 10, 12)
        rest = list(drawn)
        assert [len(batch["x"]) for batch in rest] == [2, 1] and len(decoded) == 5
        seeded = [torch.cat([b["x"] for b in images.batches(2, torch.Generator().manual_seed(s))]) for s in (1, 1, 2)]
        assert torch.equal(seeded[0], seeded[1]) and not torch.equal(seeded[0], seeded[2])
        order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
        assert torch.equal(seeded[0], images.load(order)["x"])
        with pytest.raises(ConfigError, match="batch_size"):
            images.batches(0)

    def test_mixed_sizes(self, tree):
        save(tree[0] / "dog" / "z.png", noise(20, 40))
        with pytest.raises(DataError, match=r"cat/a.png is 12 x 10 and dog/z.png is 40 x 20 pixels; give size="):
            ImageFolder(tree[0])
        images = ImageFolder(tree[0], size=10)
        assert images.load()["x"].shape == (6, 1, 10, 10)

    def test_resizing_keeps_the_middle(self, tmp_path):
        stripes = np.zeros((16, 48), np.uint8)
        stripes[:, 16:32] = 200
        save(tmp_path / "a.png", stripes)
        assert (only(tmp_path, size=16) == 200).all()
        small = only(tmp_path, size=8)
        # Smoothing over two pixels lets a little of the neighbouring stripes in.
        assert small.shape == (8, 8, 1) and (small[:, 2:-2] == 200).all() and small.min() > 150

    def test_a_header_is_read_only_where_it_must(self, tree, monkeypatch):
        seen = []
        header = module.read_header
        monkeypatch.setattr(module, "read_header", lambda path: seen.append(path) or header(path))
        ImageFolder(tree[0], size=8, channels=1)
        assert not seen
        ImageFolder(tree[0], size=8)
        assert len(seen) == 5

    def test_lossy_formats(self, tmp_path):
        smooth = np.broadcast_to(np.linspace(0, 255, 16)[None, :, None], (16, 16, 3)).astype(np.uint8)
        for name in ("a.jpg", "b.JPEG", "c.webp"):
            save(tmp_path / name, smooth, quality=95)
        x = to_uint8(ImageFolder(tmp_path, labels="none").load()["x"]).astype(int)
        assert x.shape == (3, 16, 16, 3) and np.abs(x - smooth).max() <= 12 and np.abs(x - smooth).mean() < 4


class TestFiles:
    def test_16_bits_become_8(self, tmp_path):
        deep = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
        save(tmp_path / "a.png", deep)
        assert np.array_equal(only(tmp_path)[..., 0], np.round(deep / 257).astype(np.uint8))

    def test_palettes(self, tmp_path):
        pixels = np.repeat(np.array([[10, 20, 30], [200, 100, 0]], np.uint8), 32, 0).reshape(8, 8, 3)
        save(tmp_path / "a.png", Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE))
        assert np.array_equal(only(tmp_path), pixels)

    def test_one_bit(self, tmp_path):
        flags = noise(9, 9) > 127
        save(tmp_path / "a.png", Image.fromarray(flags.astype(np.uint8) * 255).convert("1"))
        assert np.array_equal(only(tmp_path)[..., 0], flags * np.uint8(255))

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparency_is_white(self, tmp_path, mode):
        picture = Image.new(mode, (8, 8), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
        picture.paste((100,) * (len(mode) - 1) + (255,), (0, 0, 4, 8))
        save(tmp_path / "a.png", picture)
        pixels = only(tmp_path)
        assert pixels.shape[2] == len(mode) - 1 and (pixels[:, :4] == 100).all() and (pixels[:, 4:] == 255).all()

    def test_inks(self, tmp_path):
        save(tmp_path / "a.tiff", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
        assert (only(tmp_path) == [255, 0, 0]).all()

    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tiff", "a.webp"])
    def test_exif_turns_the_image_upright(self, tmp_path, name):
        lying = np.zeros((8, 16), np.uint8)
        lying[:, 8:] = 255
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned a quarter clockwise
        save(tmp_path / name, Image.fromarray(lying).convert("RGB"), exif=exif)
        pixels = only(tmp_path, channels=1)
        assert pixels.shape == (16, 8, 1) and (pixels[:6] < 30).all() and (pixels[10:] > 225).all()

    def test_32_bits_are_refused(self, tmp_path):
        save(tmp_path / "a.tiff", np.zeros((8, 8), np.float32))
        with pytest.raises(DataError, match=r"a\.tiff has 32-bit values"):
            only(tmp_path)

    @pytest.mark.parametrize("damage", ["text", "cut", "empty", "other"])
    def test_a_broken_file_names_itself(self, tmp_path, damage):
        good = save(tmp_path / "set" / "a.png", noise(32, 32)).read_bytes()
        other = io.BytesIO()
        Image.fromarray(noise(32, 32)).save(other, "gif")
        broken = {
            "text": b"no image",
            "cut": good[: len(good) // 2],
            "empty": b"",
            "other": other.getvalue(),
        }
        (tmp_path / "set" / "b.png").write_bytes(broken[damage])
        with pytest.raises(DataError, match=r"set/b\.png is not a readable image.*remove it"):
            ImageFolder(tmp_path / "set", labels="none").load()

    def test_a_file_that_would_unpack_to_too_much(self, tmp_path):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        for side in (9_000, 40_000):
            header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
            parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
            (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
            with pytest.raises(DataError, match=r"a\.png has more than 67,108,864 pixels"):
                only(tmp_path)

    def test_a_size_hidden_behind_the_pixels(self, tmp_path):
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(noise(8, 16)).save(buffer, "png", exif=exif)
        data = buffer.getvalue()
        start = data.index(b"eXIf") - 4
        length = 12 + struct.unpack(">I", data[start : start + 4])[0]
        moved = data[:start] + data[start + length : -12] + data[start : start + length] + data[-12:]
        (tmp_path / "a.png").write_bytes(moved)
        with pytest.raises(DataError, match="is 8 x 16 and not 16 x 8; give size"):
            only(tmp_path)
        assert only(tmp_path, size=8).shape == (8, 8, 1)


class TestWrongFolders:
    def test_nothing_there(self, tmp_path):
        (tmp_path / "images").mkdir()
        with pytest.raises(ConfigError, match="no folder .*imagse; did you mean 'images'"):
            ImageFolder(tmp_path / "imagse")
        with pytest.raises(DataError, match="images holds no image; put files ending in .png"):
            ImageFolder(tmp_path / "images")
        (tmp_path / "images" / "a.txt").write_text("x")
        with pytest.raises(DataError, match="holds no image"):
            ImageFolder(tmp_path / "images")

    def test_a_file(self, tmp_path):
        path = save(tmp_path / "a.png", noise(8, 8))
        with pytest.raises(ConfigError, match=r"a\.png is a file; give the folder"):
            ImageFolder(path)

    def test_images_outside_classes(self, tree):
        save(tree[0] / "loose.png", noise(10, 12))
        with pytest.raises(DataError, match=r"loose\.png lies in no class folder.*labels='none'"):
            ImageFolder(tree[0])
        assert len(ImageFolder(tree[0], labels="none")) == 6

    def test_an_empty_class(self, tree):
        (tree[0] / "bird").mkdir()
        with pytest.raises(DataError, match="bird holds no image; fill it"):
            ImageFolder(tree[0])

    def test_sides_and_options(self, tmp_path):
        save(tmp_path / "a.png", noise(300, 300))
        with pytest.raises(DataError, match=r"300 x 300 pixels are outside 8\.\.256"):
            ImageFolder(tmp_path, labels="none")
        bad_sizes = [{"size": size} for size in (7, 257, (28, 28), "16", 16.0)]
        for bad in (*bad_sizes, {"channels": 2}, {"labels": "name"}):
            with pytest.raises(ConfigError, match=next(iter(bad))):
                ImageFolder(tmp_path, **{"labels": "none", **bad})

    def test_one_image_at_a_time(self, tree):
        images = ImageFolder(tree[0])
        assert torch.equal(images[np.int64(1)][0], images[1][0])
        for bad in (slice(1, 3), "a", 1.0):
            with pytest.raises(DataError, match=r"by a whole number, not .*load\(\)"):
                images[bad]
