"""Images that are decoded batch by batch."""

import pytest
import torch

from ganlib.data.images import ImageFolder, LazyImages
from ganlib.data.transforms import make_transform
from ganlib.errors import ConfigError, DataError
from ganlib.training.batches import TensorBatches
from tests.ganlib.data.image_set import count_decoding, noise, save


class TestLazy:
    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("size", [2, 3, 99])
    def test_the_same_batches_as_from_memory(self, tree, shuffle, size):
        images = ImageFolder(tree[0])
        lazy, held = LazyImages(images, size, 7, shuffle), TensorBatches(images.load(), size, 7, shuffle)
        assert len(lazy) == len(held) and lazy.rows == held.rows == 5 and lazy.batch_size == held.batch_size
        for number in (0, 3):
            for one, other in zip(lazy.epoch(number), held.epoch(number), strict=True):
                assert torch.equal(one["x"], other["x"]) and torch.equal(one["y"], other["y"])

    def test_one_batch_at_a_time(self, tree, monkeypatch):
        decoded = count_decoding(monkeypatch)
        lazy = LazyImages(ImageFolder(tree[0]), 2).to("cpu")
        batches = lazy.epoch(0)
        assert not decoded
        next(batches)
        assert len(decoded) == 2
        assert len(list(batches)) == 1 and len(decoded) == 4

    def test_augmentation_is_fixed_by_seed_and_epoch(self, tree):
        def add_noise(images, generator):
            return images + torch.rand(images.shape, generator=generator)

        images = ImageFolder(tree[0])
        draw = {}
        for seed, number in ((1, 0), (1, 1), (2, 0)):
            batches = LazyImages(images, 5, seed, shuffle=False, transform=add_noise)
            draw[seed, number] = next(batches.epoch(number))["x"]
            assert torch.equal(next(batches.to("cpu").epoch(number))["x"], draw[seed, number])
        assert not torch.equal(draw[1, 0], draw[1, 1]) and not torch.equal(draw[1, 0], draw[2, 0])
        assert (draw[1, 0] - images.load()["x"]).abs().max() <= 1

    def test_other_files_have_another_digest(self, tree):
        first = LazyImages(ImageFolder(tree[0]), 2).digests()
        assert LazyImages(ImageFolder(tree[0]), 2).digests() == first
        save(tree[0] / "cat" / "z.png", noise(10, 12))
        assert LazyImages(ImageFolder(tree[0]), 2).digests() != first

    def test_nothing_to_draw_from(self):
        class Nothing:
            def __len__(self):
                return 0

            def load(self, indices=None):
                return {}

        with pytest.raises(DataError, match="no images to load"):
            LazyImages(Nothing(), 4)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"source": "path"}, r"ImageFolder\(path\), 32\), not 'path'"),
            ({"batch_size": 0}, "batch_size must be a whole number, at least 1, not 0"),
            ({"batch_size": "8"}, "not '8'"),
            ({"transform": "crop"}, r"not 'crop'; make_transform\('crop'\)"),
            ({"transform": make_transform("mixup", classes=2)}, "functions of .images, generator., not MixUp"),
            ({"transform": lambda images: images}, "LazyImages takes functions"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused_at_once(self, tree, options, message):
        with pytest.raises(ConfigError, match=message):
            LazyImages(**{"source": ImageFolder(tree[0]), "batch_size": 2, **options})
