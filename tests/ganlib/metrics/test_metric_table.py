import dataclasses
import importlib
import inspect
import re

import pytest

from ganlib.errors import ConfigError
from ganlib.metrics.table import BETTER, METRICS, metric

MODULES = ("mixtures", "two_sample", "features", "classes", "images", "detection", "slopes", "privacy", "fidelity")
# Public functions that return no figure of merit.
HELPERS = {
    "classes.class_gaussians",
    "detection.pca_scores",
    "features.train_classifier",
    "mixtures.grid_centres",
    "mixtures.ring_centres",
    *(f"two_sample.as_{name}" for name in ("array", "count", "images", "labels", "pair", "rows")),
}


def result_type(row):
    module, function = row.function.split(".")
    loaded = importlib.import_module(f"ganlib.metrics.{module}")
    annotation = inspect.signature(getattr(loaded, function)).return_annotation
    return getattr(loaded, annotation) if hasattr(loaded, annotation) else annotation


@pytest.mark.parametrize("row", METRICS.values(), ids=METRICS)
def test_a_row_is_whole(row):
    assert row.measures and row.better in BETTER
    assert row.low < row.high
    assert re.search(r"\d{4}", row.source)
    assert row.ideal is None or (row.better == "nearer" and row.low <= row.ideal <= row.high)
    kind = result_type(row)
    if row.field:
        fields = {f.name for f in dataclasses.fields(kind)} | {
            n for n, v in vars(kind).items() if isinstance(v, property)
        }
        assert row.field in fields
    else:
        assert kind in ("float", "dict[int, float]", "np.ndarray")


def test_every_metric_function_is_listed():
    found = set()
    for name in MODULES:
        module = importlib.import_module(f"ganlib.metrics.{name}")
        found |= {
            f"{name}.{key}"
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        }
    assert found - HELPERS == {row.function for row in METRICS.values()}


def test_look_up():
    assert metric("c2st").ideal == 0.5
    assert metric("frechet_distance").better == "lower"
    with pytest.raises(ConfigError, match=r"unknown metric 'fid'.*frechet_distance"):
        metric("fid")
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric("mmd").low = 0.0
