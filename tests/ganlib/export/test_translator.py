"""Sealed translators: both directions take and give raw arrays, as the fitted translator does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib import as_translator, seal
from ganlib.data.normal_scores import fit_knots, to_scores
from ganlib.errors import ConfigError, ParityError
from ganlib.export import save_sealed, seal_translator
from ganlib.export.encode_rows import pieces
from serving.artifact import load_artifact
from serving.errors import DataError, UsageError
from serving.scorer import Scorer
from serving.translator import Translator

torch.set_num_threads(1)
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (24, 8, 8), dtype=np.uint8)
FLOATS = (BYTES / 255).astype(np.float32)
SIGNED = np.stack([FLOATS, 1 - FLOATS, FLOATS], -1) * 2 - 1
SERIES = RNG.standard_normal((24, 2, 32)).cumsum(2)
LEVELS = (SERIES * 20 + 120).clip(0, 255).astype(np.uint8)
SMALL = {"width": 4, "steps": 2, "batch_size": 8}
CASES = {
    "bytes": (BYTES, 255 - BYTES, {"blocks": 1, "halvings": 1, "layers": 1}),
    "floats and signed colours": (FLOATS, SIGNED, {"blocks": 1, "halvings": 1, "layers": 1}),
    "channels first": (SIGNED.transpose(0, 3, 1, 2), BYTES, {"blocks": 1, "halvings": 1, "layers": 1}),
    "series": (SERIES, 1000 + 5 * SERIES, {"blocks": 1, "layers": 2}),
    "series of bytes": (SERIES, LEVELS, {"blocks": 1, "layers": 2, "modality": "series"}),
}


@pytest.mark.parametrize("case", CASES)
def test_both_directions_open_and_agree_with_the_estimator(case, tmp_path):
    a, b, options = CASES[case]
    fitted = as_translator("cyclegan", **SMALL, **options).fit(a, b)
    for to, examples in (("b", a), ("a", b)):
        path = tmp_path / f"{to}.onnx"
        report = save_sealed(seal_translator(fitted, to), path)
        assert report.parity_max_abs <= report.parity_bound
        opened = Translator(load_artifact(path))
        made, wanted = opened.translate(examples), fitted.translate(examples, to)
        assert opened.to == to and made.dtype == wanted.dtype and made.shape == wanted.shape
        apart = np.abs(made.astype(float) - wanted)
        assert apart.max() <= (1 if made.dtype == np.uint8 else 10 * report.parity_bound)
        assert opened.translate(examples[:0]).shape == (0, *wanted.shape[1:])


def test_seal_writes_the_way_to_the_second_domain_and_a_way_that_was_not_learned_is_refused(tmp_path):
    fitted = as_translator("pix2pix", layers=1, **SMALL).fit(BYTES, 255 - BYTES)
    seal(fitted, tmp_path / "t.onnx")
    artifact = load_artifact(tmp_path / "t.onnx")
    assert Translator(artifact).to == "b" and artifact.metadata["model"]["name"] == "pix2pix"
    with pytest.raises(ConfigError, match="from a to b only"):
        seal_translator(fitted, "a")
    with pytest.raises(UsageError, match="sealed translator"):
        Scorer(artifact)
    with pytest.raises(DataError, match="where the model takes 8 x 8"):
        Translator(artifact).translate(BYTES[:, :4])


def test_what_is_no_fitted_translator_of_arrays_is_refused():
    with pytest.raises(ConfigError, match="call fit first"):
        seal_translator(as_translator("pix2pix"))


def mixed(rows=120, seed=0):
    """Columns of all kinds, with an atom and a gap among the numbers, and missing values."""
    rng = np.random.default_rng(seed)
    spread = np.where(rng.random(rows) < 0.5, rng.normal(0, 1, rows), rng.normal(40, 1, rows))
    frame = pd.DataFrame(
        {
            "flow": np.where(rng.random(rows) < 0.3, 0.0, spread),
            "count": rng.integers(0, 9, rows),
            "valve": rng.choice(["open", "closed", "half"], rows),
            "active": rng.random(rows) < 0.4,
            "when": pd.date_range("2026-01-01", periods=rows, freq="7h", tz="UTC"),
            "note": [f"free text {rng.integers(1 << 30)} {n}" for n in range(rows)],
        }
    )
    frame.loc[::11, "flow"] = np.nan
    frame.loc[::13, "valve"] = None
    return frame


def test_tables_are_translated_both_ways_by_files_that_need_no_torch(tmp_path):
    a, b = mixed(), mixed(seed=1).rename(columns={"count": "level"})[["when", "level", "flow", "valve"]]
    fitted = as_translator("discogan", hidden=(8,), steps=20).fit(a, b)
    for to, frame in (("b", a), ("a", b)):
        path = tmp_path / f"{to}.onnx"
        report = save_sealed(seal_translator(fitted, to), path, training={"rows": 120})
        assert report.parity_max_abs <= report.parity_bound
        opened = Translator(load_artifact(path))
        given = frame.set_axis(range(7, 127))
        made, wanted = opened.translate(given), fitted.translate(frame, to)
        assert opened.to == to and list(made.index) == list(given.index)
        made = made.reset_index(drop=True)
        assert ((made["when"] - wanted["when"]).abs() <= pd.Timedelta("2s")).all()  # rounded to seconds
        pd.testing.assert_frame_equal(made.drop(columns="when"), wanted.drop(columns="when"), rtol=1e-4, atol=1e-4)
        assert list(opened.translate(frame[:0]).columns) == list(wanted.columns)
    assert "note" not in made and "note" not in opened.artifact.features
    with pytest.raises(DataError, match="'level'"):
        Translator(load_artifact(path)).translate(b.drop(columns="level"))


def test_a_file_whose_golden_rows_disagree_does_not_open(tmp_path):
    rows = mixed()[["flow", "count", "valve"]]
    parts = seal_translator(as_translator("discogan", hidden=(8,), steps=5).fit(rows, rows))
    golden = parts.metadata["golden"]
    results = {name: list(reversed(values)) for name, values in golden["results"].items()}
    wrong = replace(parts, metadata={**parts.metadata, "golden": {**golden, "results": results}})
    with pytest.raises(ParityError, match="golden rows"):
        save_sealed(wrong, tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())
    other = replace(parts, metadata={**parts.metadata, "features_b": ["flow"]})
    with pytest.raises(ParityError, match="not those of the schema"):
        save_sealed(other, tmp_path / "wrong.onnx")


@pytest.mark.parametrize("kind", ["plain", "atoms", "gap"])
def test_the_pieces_of_the_graph_are_the_encoders_scores(kind):
    rng = np.random.default_rng(2)
    column = {"plain": rng.normal(0, 1, 400), "atoms": np.round(rng.exponential(1, 400)),
              "gap": np.concatenate([rng.normal(0, 1, 200), rng.normal(50, 1, 200), np.zeros(80)])}[kind]  # fmt: skip
    knots, scores = fit_knots(column, None, None)
    at, base, slope = pieces(knots, scores)
    values = np.concatenate([column, at, rng.uniform(column.min() - 9, column.max() + 9, 2000)])
    piece = (values[:, None] >= at).sum(1) + (values[:, None] > at).sum(1)
    lines = base[piece] + slope[piece] * (values - np.concatenate([[at[0]], np.repeat(at, 2)])[piece])
    np.testing.assert_allclose(lines, to_scores(values, knots, scores), atol=1e-6)
