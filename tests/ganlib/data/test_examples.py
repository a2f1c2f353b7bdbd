"""Images and series are read from folders, NumPy files, Parquet and JSON lines, for training as for scoring."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganlib.data.read import holds_examples, read_examples, read_table
from ganlib.errors import DataError
from serving.inputs import list_inputs

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 8, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 8, 9, 3), dtype=np.uint8)
SERIES = RNG.standard_normal((12, 3, 20))


def folder(path, images, classes=("a", "b")):
    for i, image in enumerate(images):
        place = path / classes[i * len(classes) // len(images)] if classes else path
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:03}.png")
    return path


def test_a_folder_gives_images_names_and_classes(tmp_path):
    for images, name in ((GREY, "grey"), (COLOUR, "colour")):
        found = read_examples(folder(tmp_path / name, images))
        assert np.array_equal(found["x"], images) and found["x"].dtype == np.uint8
        assert found["y"].tolist() == ["a"] * 6 + ["b"] * 6 and found["name"][0] == "a/000.png"
    flat = read_examples(folder(tmp_path / "flat", GREY, ()))
    assert flat.keys() == {"x", "name"}
    # Grey files among files with colours become three channels.
    Image.fromarray(GREY[0]).save(tmp_path / "colour" / "b" / "zzz.png")
    mixed = read_examples(tmp_path / "colour")["x"]
    assert mixed.shape == (13, 8, 9, 3) and np.array_equal(mixed[-1], np.repeat(GREY[0][..., None], 3, 2))
    assert np.array_equal(read_examples(f"{tmp_path}/grey/b/*.png")["x"], GREY[6:])
    assert np.array_equal(read_examples(tmp_path / "grey" / "a" / "003.png")["x"], GREY[3:4])


@pytest.mark.parametrize("values", [GREY, COLOUR, SERIES, SERIES.astype("f4"), GREY > 9], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_format_gives_the_same_arrays(tmp_path, values, order):
    values = np.asarray(values, order=order)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", x=values, y=np.arange(12), id=np.array([f"n{i}" for i in range(12)]))
    np.savez_compressed(tmp_path / "zip.npz", values)
    (source,) = list_inputs(tmp_path / "x.npz")
    table = pa.concat_tables(source.tables())
    pq.write_table(table, tmp_path / "tensor.parquet")
    pq.write_table(pa.table({"x": pa.array(values.tolist(), nested(values))}), tmp_path / "nested.parquet")
    for name in ("x.npy", "x.npz", "zip.npz", "tensor.parquet", "nested.parquet"):
        found = read_examples(tmp_path / name)
        assert found["x"].dtype == values.dtype and np.array_equal(found["x"], values), name
        assert holds_examples(tmp_path / name)
    kept = read_examples(tmp_path / "x.npz")
    assert kept["y"].tolist() == list(range(12)) and kept["id"][3] == "n3"


def nested(values):
    kind = pa.from_numpy_dtype(values.dtype)
    for _ in values.shape[1:]:
        kind = pa.list_(kind)
    return kind


def test_json_lines_and_encoded_images(tmp_path):
    lines = [json.dumps({"id": f"n{i}", "x": x.tolist()}) for i, x in enumerate(SERIES)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    found = read_examples(tmp_path / "x.jsonl")
    assert np.array_equal(found["x"], SERIES) and found["id"][2] == "n2" and holds_examples(tmp_path / "x.jsonl")
    (tmp_path / "bytes.jsonl").write_text("\n".join(json.dumps({"x": x.tolist()}) for x in GREY))
    assert read_examples(tmp_path / "bytes.jsonl")["x"].dtype == np.int64
    assert np.array_equal(read_examples(tmp_path / "bytes.jsonl", modality="image")["x"], GREY)
    encoded = [path.read_bytes() for path in sorted(folder(tmp_path / "f", GREY).rglob("*.png"))]
    for name, x in {
        "bytes": pa.array(encoded, pa.binary()),
        "struct": pa.array([{"bytes": e, "path": "a.png"} for e in encoded]),
    }.items():
        pq.write_table(pa.table({"x": x}), tmp_path / f"{name}.parquet")
        assert np.array_equal(read_examples(tmp_path / f"{name}.parquet")["x"], GREY)
        assert holds_examples(tmp_path / f"{name}.parquet")


def test_a_table_is_no_examples(tmp_path):
    (tmp_path / "x.csv").write_text("x,y\n1,2\n")
    (tmp_path / "x.jsonl").write_text('{"x": "[1]", "y": 2}\n')
    np.savez(tmp_path / "x.npz", x=np.arange(4.0), y=np.arange(4))
    for name in ("x.csv", "x.jsonl", "x.npz"):
        assert not holds_examples(tmp_path / name)
    assert read_table(tmp_path / "x.npz")["x"].tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"holds images or arrays in 'x', not a table"):
        read_table(folder(tmp_path / "images", GREY))


def _mixed_sizes(path):
    folder(path, GREY)
    Image.fromarray(GREY[0][:, :8]).save(path / "b" / "small.png")


def _broken(path):
    folder(path, GREY)
    (path / "a" / "004.png").write_bytes(b"\x89PNG no")


def _with_a_table(path):
    folder(path, GREY)
    (path / "labels.csv").write_text("a\n1\n")


def _lengths(path):
    path.mkdir()
    np.savez(path / "x.npz", x=GREY, y=np.arange(3))


def _objects(path):
    path.mkdir()
    np.savez(path / "x.npz", x=GREY, y=np.array([{}] * 12, object))


def _cut(path):
    path.mkdir()
    np.save(path / "x.npy", SERIES)
    data = (path / "x.npy").read_bytes()
    (path / "x.npy").write_bytes(data[:-100])


def _no_x(path):
    path.mkdir()
    np.savez(path / "x.npz", train=GREY, test=GREY)


def _ragged(path):
    path.mkdir()
    (path / "x.jsonl").write_text('{"x": [[1, 2], [3]]}\n')


def _two_kinds(path):
    path.mkdir()
    np.save(path / "a.npy", GREY)
    np.save(path / "b.npy", GREY / 255)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_mixed_sizes, r"b/small\.png has the shape 8 x 8, and .*a/000\.png 8 x 9; bring all to one size"),
        (_broken, r"a/004\.png: 'x' is not a readable image \(.*\); save it again or remove it"),
        (_with_a_table, r"holds images \(a/000\.png\) and other data \(labels\.csv\); move them"),
        (_lengths, r"x\.npz: its arrays differ in length \('x' 12, 'y' 3\)"),
        (_objects, r"x\.npz: 'y' holds Python objects, which are not read; save numbers"),
        (_cut, r"x\.npy is not a readable NumPy file \(it ends before its 12 rows\); write it again"),
        (_no_x, r"x\.npz has no column or array 'x' of images or series; it has 'train', 'test'"),
        (_ragged, r"x\.jsonl, row 0: 'x' holds lists of different lengths"),
        (_two_kinds, r"b\.npy, row 0 holds float64, and .*a\.npy, row 0 uint8; write all in one type"),
        (lambda path: path.mkdir(), r"holds no data file; data files end in"),
    ],
)
def test_what_cannot_be_trained_on_is_named(tmp_path, make, message):
    make(tmp_path / "in")
    with pytest.raises(DataError, match=message):
        read_examples(tmp_path / "in")
