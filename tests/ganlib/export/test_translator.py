"""Sealed translators: both directions take and give raw arrays, as the fitted translator does."""

import numpy as np
import pytest
import torch

from ganlib import as_translator, seal
from ganlib.errors import ConfigError
from ganlib.export import save_sealed, seal_translator
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
    rows = RNG.random((30, 3))
    with pytest.raises(ConfigError, match="tables are not sealed yet"):
        seal_translator(as_translator("discogan", steps=2).fit(rows, rows))
