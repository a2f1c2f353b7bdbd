"""What translations are measured by, on mappings whose figures are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.two_sample import two_sample_auroc
from ganlib.translate import Translator, as_translator, measure_translation

torch.set_num_threads(1)
RNG = np.random.default_rng(0)
DARK = RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8)
LIGHT = 255 - DARK


def domains(rows=300, seed=0):
    """A table, and one whose numbers are shifted and stretched."""
    rng = np.random.default_rng(seed)
    a = pd.DataFrame({"u": rng.normal(0, 1, rows), "v": rng.normal(5, 2, rows), "kind": rng.choice(["x", "y"], rows)})
    b = pd.DataFrame({"u": rng.normal(8, 3, rows), "v": rng.normal(1, 1, rows), "kind": rng.choice(["x", "y"], rows)})
    return a, b


def test_pairs_are_measured_by_the_difference_from_the_true_counterpart(monkeypatch):
    fitted = as_translator("pix2pix", steps=1, width=4, layers=1).fit(DARK[:40], LIGHT[:40])
    monkeypatch.setattr(Translator, "translate", lambda self, X, to="b": 255 - X)
    found = measure_translation(fitted, (DARK[:40], LIGHT[:40]), (DARK[40:], LIGHT[40:]))
    apart = np.abs(DARK[40:].astype(float) - LIGHT[40:]).mean() / 127.5
    average = np.abs(LIGHT[:40].mean(0) - LIGHT[40:]).mean() / 127.5
    assert found.figures["translated"] == 0 and found.saved == 1 and found.cycle == {}
    assert found.figures["untranslated"] == pytest.approx(apart, rel=1e-5)
    assert found.figures["average example"] == pytest.approx(average, rel=1e-5)
    # The nearest training example of an example that was trained on is itself.
    known = measure_translation(fitted, (DARK, LIGHT), (DARK[40:], LIGHT[40:]))
    assert known.figures["nearest example"] == 0


def test_without_pairs_by_what_a_classifier_separates(monkeypatch):
    a, b = domains()
    fitted = as_translator("coupled_pair", steps=1, hidden=(4,)).fit(a[:200], b[:200])
    monkeypatch.setattr(Translator, "translate", lambda self, X, to="b": X)
    found = measure_translation(fitted, (a[:200], b[:200]), (a[200:], b[200:]))
    assert found.figures["translated"] == found.figures["untranslated"] > 0.95 and found.saved == 0
    assert 0.3 < found.figures["moments matched"] < 0.7
    near, other = found.cycle.values()
    assert near == 0 < other
    # Other columns: nothing is left untranslated, so that only full separation can be compared with.
    fitted = as_translator("coupled_pair", steps=1, hidden=(4,)).fit(a[:200], b[:200].rename(columns={"u": "w"}))
    names = {"b": {"u": "w"}, "a": {"w": "u"}}
    monkeypatch.setattr(Translator, "translate", lambda self, X, to="b": X.rename(columns=names[to]))
    found = measure_translation(fitted, (a[:200], b[:200].rename(columns={"u": "w"})),
                                (a[200:], a[200:].rename(columns={"u": "w"})))  # fmt: skip
    assert set(found.figures) == {"translated"} and found.baseline == "full separation" and found.saved > 0.3
    with pytest.raises(DataError, match="10 held-out examples"):
        measure_translation(fitted, (a, b), (a[:9], b[:9]))


@pytest.mark.parametrize("model", ["forest", "neural"])
def test_auroc_of_two_samples(model):
    same, other = RNG.normal(0, 1, (2, 200, 3)), RNG.normal(4, 1, (150, 3))
    assert 0.35 < two_sample_auroc(*same, model=model, folds=3) < 0.65
    assert two_sample_auroc(same[0], other, model=model, folds=3) > 0.97
    with pytest.raises(ConfigError, match="unknown model"):
        two_sample_auroc(*same, model="oracle")
    with pytest.raises(DataError, match="10 samples"):
        two_sample_auroc(same[0][:5], other)
