"""Array artifacts in service: what they give, what is refused, and that no torch is needed."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from serving_data import CLASSES, resealed

from serving.artifact import load_artifact
from serving.errors import DataError, IntegrityError, UsageError
from serving.generator import Encoder, Generator
from serving.opening.entries import FORMAT_VERSION
from serving.scorer import Scorer

NEXT = FORMAT_VERSION + 1
TABLE = Path(__file__).parent.parent / "golden" / "v1" / "augmenter.onnx"


@pytest.fixture(scope="module")
def generator(files):
    return Generator(load_artifact(files / "images.onnx"))


@pytest.fixture(scope="module")
def encoder(files):
    return Encoder(load_artifact(files / "encoder.onnx"))


def test_images_from_a_seed(generator):
    asked = ["cat", "dog", "dog"]
    made = generator.sample(3, asked, seed=4)
    assert made.shape == (3, 8, 6, 3) and made.dtype == np.uint8 and made.std() > 1
    assert np.array_equal(made, generator.sample(3, asked, seed=4))
    assert not np.array_equal(made, generator.sample(3, asked, seed=5))
    assert not np.array_equal(made, generator.sample(3, ["dog", "cat", "cat"], seed=4))
    assert generator.sample(0, [], seed=4).shape == (0, 8, 6, 3)


def test_chunks_are_not_seen(generator, encoder):
    asked = CLASSES * 50
    made, codes = generator.sample(100, asked), encoder.encode(generator.sample(100, asked), asked)
    generator, encoder = (type(m)(replace(m.artifact, rows=7)) for m in (generator, encoder))
    assert np.abs(made.astype(int) - generator.sample(100, asked)).max() <= 1
    np.testing.assert_allclose(encoder.encode(made, asked), codes, atol=1e-4)


def test_codes_of_bytes_and_of_numbers_agree(generator, encoder):
    made = generator.sample(5, ["cat"] * 5)
    codes = encoder.encode(made, ["cat"] * 5)
    assert codes.shape == (5, encoder.latent_dim) == (5, 4) and codes.dtype == np.float32
    numbers = made.transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(encoder.encode(numbers, ["cat"] * 5), codes, atol=1e-5)
    assert not np.allclose(encoder.encode(made, ["dog"] * 5), codes, atol=1e-4)
    assert encoder.encode(made[:0], []).shape == (0, 4)


def test_what_does_not_fit_is_named(generator, encoder):
    with pytest.raises(UsageError, match="no class 'cow'"):
        generator.sample(1, ["cow"])
    with pytest.raises(UsageError, match="each of the 2 rows"):
        generator.sample(2)
    with pytest.raises(UsageError, match="rows must be a whole number"):
        generator.sample(-1, [])
    with pytest.raises(UsageError, match="seed must be a whole number"):
        generator.sample(1, ["cat"], seed=-1)
    with pytest.raises(UsageError, match="not conditioned on attributes"):
        generator.sample(1, ["cat"], attributes=[[1.0]])
    with pytest.raises(UsageError, match=r"use sample\(\)"):
        generator.frame(1, ["cat"])
    with pytest.raises(UsageError, match="no class 'cow'"):
        encoder.encode(np.zeros((1, 3, 8, 6)), ["cow"])
    with pytest.raises(DataError, match=r"shape \(n, 3, 8, 6\)"):
        encoder.encode(np.zeros((1, 8, 6, 3)), ["cat"])
    with pytest.raises(DataError, match="not finite"):
        encoder.encode(np.full((1, 3, 8, 6), np.nan), ["cat"])
    with pytest.raises(DataError, match=r"from 0 to 255, but this model expects images in \[-1, 1\].*127.5"):
        encoder.encode(np.linspace(0, 255, 144).reshape(1, 3, 8, 6), ["cat"])
    assert encoder.encode(np.full((1, 3, 8, 6), 1.005), ["cat"]).shape == (1, 4)


def test_artifacts_of_another_kind_are_refused(generator, encoder):
    table = load_artifact(TABLE)
    assert (table.modality, generator.artifact.modality, encoder.artifact.kind) == ("table", "image", "encoder")
    with pytest.raises(UsageError, match=r"use generate\(\) or frame\(\)"):
        Generator(table).sample(1, ["a"])
    with pytest.raises(UsageError, match="sealed encoder, not an augmenter"):
        Generator(encoder.artifact)
    with pytest.raises(UsageError, match="sealed augmenter, not an encoder"):
        Encoder(table)
    with pytest.raises(UsageError, match="sealed encoder, not a detector"):
        Scorer(encoder.artifact)
    for build in (Generator, Encoder):
        with pytest.raises(UsageError, match=r"load_artifact\(path\).*; not 'A.onnx'"):
            build("A.onnx")
    with pytest.raises(UsageError, match="no table schema"):
        _ = generator.artifact.schema
    with pytest.raises(UsageError, match="for tables"):
        _ = table.shape


# ---------------------------------------------------------------- integrity
def facts(model):
    return {entry.key: entry for entry in model.metadata_props}


def edit(model, key, edit):
    entry = facts(model)[key]
    entry.value = json.dumps(edit(json.loads(entry.value)))


def weights(model):
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.raw_data = bytes(len(tensor.raw_data))


def drop(model, key):
    model.metadata_props.remove(facts(model)[key])


@pytest.mark.parametrize("name", ["images.onnx", "encoder.onnx"])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (weights, "golden rows disagree"),
        (
            lambda m: edit(m, "golden", lambda g: {**g, "values": [[v + 2 for v in r] for r in g["values"]]}),
            "disagree",
        ),
        (lambda m: edit(m, "golden", lambda g: {**g, "mean": [v + 2 for v in g["mean"]]}), "disagree"),
        (lambda m: edit(m, "golden", lambda g: {**g, "values": g["values"][:4]}), "golden.values"),
        (lambda m: edit(m, "golden", lambda g: {**g, "mean": [*g["mean"][:7], "much"]}), "golden.mean"),
        (lambda m: edit(m, "golden", lambda g: {**g, "condition": ["cow"] * 8}), "cannot be run"),
        (lambda m: edit(m, "golden", lambda g: {}), "lacks 'golden.values'"),
        (lambda m: edit(m, "shape", lambda s: [3, 6, 8]), "other arrays"),
        (lambda m: edit(m, "latent_dim", lambda k: k + 1), "other arrays"),
        (lambda m: edit(m, "conditions", lambda c: []), "other arrays"),
        (lambda m: edit(m, "modality", lambda _: "smell"), "unknown to this release"),
        (lambda m: edit(m, "kind", lambda _: "oracle"), "unknown to this release"),
        (lambda m: edit(m, "kind", lambda _: ["encoder"]), "unknown to this release"),
        (lambda m: edit(m, "format_version", lambda _: NEXT), f"format version {NEXT}"),
        (lambda m: drop(m, "shape"), "lacks"),
        (lambda m: drop(m, "modality"), "lacks|of .table. data is unknown"),
        (lambda m: drop(m, "golden"), "lacks"),
    ],
)
def test_what_was_changed_is_refused(files, tmp_path, name, edit, words):
    model = onnx.load(files / name)
    edit(model)
    data = resealed(model)
    with pytest.raises(IntegrityError, match=words) as refused:
        load_artifact(data, hashlib.sha256(data).hexdigest())
    assert refused.value.exit_code == 6


def test_the_hash_beside_the_file_counts(files, tmp_path):
    data = (files / "images.onnx").read_bytes()
    assert load_artifact(files / "images.onnx").integrity == "sha256"
    assert load_artifact(data).integrity == "self-test"
    with pytest.raises(IntegrityError, match="sha-256"):
        load_artifact(data, sha256="0" * 64)


def test_no_torch_is_needed(files, environment):
    code = (
        "import sys; from serving.artifact import load_artifact; from serving.generator import Encoder, Generator\n"
        f"made = Generator(load_artifact({str(files / 'images.onnx')!r})).sample(2, ['cat', 'dog'])\n"
        f"Encoder(load_artifact({str(files / 'encoder.onnx')!r})).encode(made, ['cat', 'dog'])\n"
        "assert not {'torch', 'sklearn', 'ganlib', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
