"""Which options are tuned, and within which ranges: from the types that a configuration declares."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib.config import Config, Count, Number, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.detect import as_detector
from ganlib.registry import entries
from pipelines.search_space import search_space, shorter
from pipelines.trials import Watcher, searched

DETECTORS = [e for e in entries("detector", "table") if "scorer" in e.exports]


@dataclass(frozen=True, kw_only=True)
class Every(Config):
    layers: Count = 3
    rate: Rate = 1e-3
    share: Share = 0.25
    most: Share = 0.9
    hidden: tuple[Count, ...] = (8, 2)
    pair: tuple[Count, Count] | None = (64, 32)
    maybe: Rate | None = 2.0
    off: Weight = 0.0
    unset: Count | None = None
    empty: tuple[Count, ...] = ()
    decays: tuple[Share, Share] = (0.5, 0.9)
    word: Literal["a", "b"] = "a"
    text: str = "x"
    switch: bool = True
    shift: Number = 1.0


def test_types_say_what_is_tuned_and_within_which_range():
    found = {d.name: d for d in search_space(Every, Every().to_dict())}
    assert list(found) == ["layers", "rate", "share", "most", "hidden", "pair", "maybe"]
    ranges = {name: (d.low, d.high, d.whole) for name, d in found.items() if not d.widths}
    assert ranges["layers"] == (1, 12, True) and ranges["rate"] == (1e-3 / 4, 4e-3, False)
    assert ranges["share"] == (0.0625, 1 - 0.75 / 4, False) and ranges["most"][1] == pytest.approx(0.975)
    assert ranges["maybe"] == (0.5, 8.0, False)
    assert found["hidden"].option(0.25) == (2, 1) and found["pair"].option(1.5) == (96, 48)
    assert found["rate"].option(0.002) == 0.002
    assert [d.name for d in search_space(Every, Every().to_dict(), fixed=("rate", "hidden"))][:2] == ["layers", "share"]
    assert (shorter(3000).low, shorter(3000).high, shorter(3000).usual) == (750, 3000, 3000)


@pytest.mark.parametrize("model", DETECTORS, ids=lambda e: e.name)
def test_every_detector_of_tables_can_be_tuned_to_all_corners_of_its_space(model):
    """A law: no model needs an edit, and no corner is rejected."""
    spec = DataSpec.vector(12)
    usual = model.create(spec).config.to_dict()
    space = searched(model, spec, usual, {})
    assert space and "steps" not in usual
    for d in space:
        assert 0 < d.low <= d.usual <= d.high and d.low < d.high
    for corner in ("low", "high", "usual"):
        built = model.create(spec, **{d.name: d.option(getattr(d, corner)) for d in space})
        assert corner != "usual" or built.config.to_dict() == usual
        if corner == "low":
            assert torch.isfinite(built.scorer()(torch.zeros(2, 12))).all()


@pytest.mark.parametrize("model", DETECTORS, ids=lambda e: e.name)
def test_every_detector_of_tables_is_measured_in_training_without_a_trace(model):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(160, 4)), columns=list("abcd"))
    truth = np.arange(40) % 2 == 0
    seen = []

    def trained(*callbacks):
        trainer = {"steps": 20, "batch_size": 32, "callbacks": callbacks}
        return as_detector(model, trainer=trainer, alpha=0.2)

    watcher = Watcher(rows[:40], truth, lambda part, value: seen.append((part, value)))
    watched = watcher.detector = trained(watcher)
    watched.fit(rows)
    plain = trained().fit(rows)
    assert np.array_equal(watched.anomaly_score(rows), plain.anomaly_score(rows))
    assert watcher.budget >= 20 and [part for part, _ in seen] == list(range(1, 10))
    assert all(0 <= value <= 1 for _, value in seen)
