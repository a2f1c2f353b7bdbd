"""Batches on their way to the device: computed ahead in a thread, and images as bytes until they arrive."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib.data import delivery, lazy_images
from ganlib.data.delivery import ahead
from ganlib.data.images import ImageFolder, LazyImages


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "ganlib-batches"]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(10):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    return ImageFolder(tmp_path, labels="none")


def test_items_keep_their_order_and_at_most_three_are_ahead():
    started = []

    def items():
        for index in range(20):
            started.append(index)
            yield index

    reader = ahead(items())
    for index in range(20):
        assert next(reader) == index
        time.sleep(0.001)
        assert len(started) <= index + 1 + 3 + 1
    assert list(reader) == [] and not threads()


def test_an_error_is_raised_where_its_item_is_due():
    def items():
        yield 1
        raise OSError("a broken file")

    reader = ahead(items())
    assert next(reader) == 1
    with pytest.raises(OSError, match="broken"):
        next(reader)
    assert not threads()


def test_a_reader_that_stops_early_leaves_no_thread():
    reader = ahead(iter(range(1000)))
    assert next(reader) == 0 and threads()
    reader.close()
    assert not threads()


def test_images_stay_bytes_until_they_are_on_the_device(folder, monkeypatch):
    """The float images of the same rows arrive; a transform, which needs floats, gets them before."""
    sent = []

    def spy(batches, device):
        for tensors in delivery.delivered(batches, device):
            sent.append(tensors["x"].dtype)
            yield tensors

    monkeypatch.setattr(lazy_images, "delivered", spy)
    plain = LazyImages(folder, 4, seed=1)
    moved = LazyImages(folder, 4, seed=1, transform=lambda images, generator: images)
    for one, other in zip(plain.epoch(3), moved.epoch(3), strict=True):
        assert torch.equal(one["x"], other["x"]) and one["x"].dtype == torch.float32
    assert set(sent[::2]) == {torch.uint8} and set(sent[1::2]) == {torch.float32}


def test_batches_for_cuda_come_from_pinned_memory_and_do_not_wait(folder, monkeypatch):
    """No GPU is needed to see what is asked of torch."""
    pinned, copies, to = [], [], torch.Tensor.to

    def pin(tensor):
        pinned.append(threading.current_thread().name)
        return tensor

    def copied(tensor, *args, **kwargs):
        if args and isinstance(args[0], torch.device) and args[0].type == "cuda":
            copies.append(kwargs)
            return tensor
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", copied)
    batches = LazyImages(folder, 4, seed=1)
    expected = [batch["x"] for batch in batches.epoch(0)]
    found = [batch["x"] for batch in batches.to("cuda").epoch(0)]
    assert all(map(torch.equal, found, expected)) and len(found) == 2
    assert copies == 2 * [{"non_blocking": True}] and set(pinned) == {"ganlib-batches"}
