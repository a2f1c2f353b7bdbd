"""The column that marks generated rows is nothing to learn from."""

import numpy as np
import pandas as pd
import pytest

from ganlib import as_augmenter, as_density, as_detector, as_translator
from ganlib.data.schema import Schema
from ganlib.detect import AutoDetector
from ganlib.errors import DataError

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(120, 3)), columns=["a", "b", "c"])
MARKED = FRAME.assign(_synthetic=np.arange(120) >= 90)
FITS = {
    "detector": lambda frame: as_detector("gaussian_mixture", steps=2).fit(frame),
    "auto": lambda frame: AutoDetector(steps=2).fit(frame),
    "augmenter": lambda frame: as_augmenter("gaussian", steps=2).fit(frame),
    "density": lambda frame: as_density("gaussian_mixture", steps=2).fit(frame),
    "translator": lambda frame: as_translator("cyclegan", steps=2).fit(frame, FRAME),
}


@pytest.mark.parametrize("kind", FITS)
def test_no_estimator_learns_the_mark(kind):
    with pytest.raises(DataError, match="_synthetic"):
        FITS[kind](MARKED)


def test_a_schema_can_leave_it_out():
    from ganlib.data.inference import infer_schema

    columns = tuple(c for c in infer_schema(MARKED).columns if c.name != "_synthetic")
    detector = as_detector("gaussian_mixture", steps=2, schema=Schema(columns)).fit(MARKED)
    assert detector.anomaly_score(FRAME).shape == (120,)
