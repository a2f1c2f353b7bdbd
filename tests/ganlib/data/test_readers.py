"""Readers: each kind of data becomes tensors and comes back, by one protocol; a new kind is one reader."""

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib.data import readers
from ganlib.data.readers import ImageReader, SeriesReader, TableReader, reader_for
from ganlib.data.readers.arrays import ArrayReader
from ganlib.data.spec import Vector
from ganlib.detect import VAEDetector
from ganlib.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 8, 9), dtype=np.uint8)
FRAME = pd.DataFrame({"a": RNG.normal(size=40), "k": RNG.choice(["x", "y"], 40), "n": RNG.integers(0, 9, 40)})
DATA = {
    "grey bytes": BYTES,
    "colour": RNG.integers(0, 256, (20, 8, 9, 3), dtype=np.uint8),
    "channels first": RNG.integers(0, 256, (20, 3, 8, 9), dtype=np.uint8),
    "unit floats": BYTES / 255.0,
    "signed floats": (BYTES / 127.5 - 1.0)[..., None],
    "series": 5 + 3 * RNG.normal(size=(20, 2, 40)),
    "table": FRAME,
    "numbers": RNG.normal(size=(40, 3)),
}


def opened(X, **options):
    reader = reader_for(X, "image" if np.ndim(X) == 3 and np.shape(X)[1] > 2 else None, **options)
    examples = reader.open(X)
    reader.select(examples)
    return reader.fit(examples), examples


@pytest.mark.parametrize("name", DATA)
def test_examples_are_read_as_the_spec_says_and_scored_as_they_were_trained_on(name):
    reader, examples = opened(DATA[name])
    x = reader.read(examples)
    assert x.dtype == torch.float32 and x.shape == (len(examples), *reader.spec.shape)
    feeds = reader.feeds(reader.again(DATA[name]))
    assert np.array_equal(reader.encode(feeds), x.numpy()) and reader.groups(feeds) is None
    assert all(len(feed) == len(examples) for feed in feeds.values())
    assert reader.tabular == (name in ("table", "numbers")) and reader.labels(examples) is None


@pytest.mark.parametrize("name", DATA)
def test_examples_come_back_in_their_format(name):
    X = DATA[name]
    reader, examples = opened(X, for_generation=True)
    x = reader.read(examples)
    back = reader.restore(x if reader.scale is None else x * reader.scale[1] + reader.scale[0])
    if isinstance(X, pd.DataFrame):
        assert list(back.columns) == list(X.columns) and (back["k"] == X["k"]).all()
        return
    assert np.shape(back) == X.shape and np.allclose(back, X, atol=1e-4 * np.abs(X).max())
    assert reader.tabular or back.dtype == X.dtype


@pytest.mark.parametrize("name", DATA)
def test_content_knows_equal_examples_wherever_they_stand(name):
    reader, examples = opened(DATA[name])
    hashes = reader.content(examples)
    assert hashes.dtype == np.uint64 and len(np.unique(hashes)) == len(examples)
    order = np.random.default_rng(1).permutation(len(examples))
    assert np.array_equal(reader.content(reader.take(examples, order)), hashes[order])
    mask = np.arange(len(examples)) % 2 == 0
    assert np.array_equal(reader.content(reader.take(examples, mask)), hashes[mask])


def test_the_kind_is_stated_or_can_only_be_one():
    waves = np.zeros((5, 2, 40))
    assert isinstance(reader_for(FRAME), TableReader) and isinstance(reader_for([[1, 2], [3, 4]]), TableReader)
    assert isinstance(reader_for(BYTES), ImageReader) and isinstance(reader_for(waves), SeriesReader)
    assert isinstance(reader_for(waves, "image"), ImageReader)
    either = np.zeros((5, 20, 30))
    assert isinstance(reader_for(either, reads=("table", "series")), SeriesReader)
    with pytest.raises(DataError, match="say modality='image' or"):
        reader_for(either, reads=("image", "series"))


def test_refusals():
    series = opened(DATA["series"])[0]
    for call, error, words in [
        (lambda: reader_for(BYTES, "sound"), ConfigError, "'image' or 'series'.*not 'sound'"),
        (lambda: reader_for(BYTES, schema="s.yaml"), ConfigError, "a schema is for tables"),
        (lambda: reader_for(BYTES, group="g"), ConfigError, "groups are for tables"),
        (lambda: series.again(FRAME), DataError, "fitted on float64"),
        (lambda: series.again([np.zeros((2, 40)), np.zeros((2, 39))]), DataError, "differ in size"),
        (lambda: series.restore(torch.full((1, 2, 40), torch.nan)), DataError, "not finite"),
        (lambda: ImageReader().open(FRAME), DataError, "images three or four; got a table"),
        (
            lambda: SeriesReader().open(DATA["colour"]),
            DataError,
            r"series have three axes .* got shape \(20, 8, 9, 3\)",
        ),
        (lambda: VAEDetector(modality="image").fit(FRAME), DataError, "got a table"),
    ]:
        with pytest.raises(error, match=words):
            call()


def test_what_export_reads_of_arrays():
    image, series = opened(DATA["channels first"])[0], opened(DATA["series"])[0]
    assert (image.modality, image.axes, image.kind) == ("image", (3, 8, 9), np.uint8) and image.scale is None
    assert image.channels_first and not image.signed and image.field == image.spec.x
    assert not opened(DATA["colour"])[0].channels_first and opened(DATA["signed floats"])[0].signed
    assert [part.shape for part in series.scale] == [(2, 1), (2, 1)]


class Ratings(ArrayReader):
    """A kind of data that the library does not know: three-way arrays, read as one vector of their logarithms."""

    modality = plural = "ratings"
    dimensions = (3,)

    def _learn(self, examples):
        self.field = Vector(int(np.prod(self.axes)))

    def _encode(self, examples):
        return torch.as_tensor(np.log1p(examples.reshape(len(examples), -1)), dtype=torch.float32)

    def _decode(self, made):
        return np.rint(np.expm1(made.numpy())).reshape(-1, *self.axes).astype(self.kind)


def test_a_new_kind_of_data_is_one_reader_and_its_row(monkeypatch):
    monkeypatch.setitem(readers.READERS, "ratings", Ratings)
    X = RNG.integers(0, 9, (60, 3, 2))
    detector = VAEDetector(modality="ratings", hidden=(8,), latent_dim=2, steps=5).fit(X)
    assert isinstance(detector.reader_, Ratings) and detector.p_value(X[:4]).shape == (4,)
    assert np.array_equal(detector.reader_.restore(detector.reader_.read(X)), X)
    assert not detector.reader_.tabular and not hasattr(detector, "schema_")


def test_a_fit_to_other_data_leaves_nothing_of_the_table():
    from ganlib.detect import Detector

    detector = Detector("reconstruction_vae", hidden=(8,), latent_dim=2, steps=2).fit(FRAME)
    assert detector.reader_.tabular and detector.schema_ is detector.reader_.schema
    detector.fit(BYTES)
    assert not detector.reader_.tabular and not hasattr(detector, "encoder_")
