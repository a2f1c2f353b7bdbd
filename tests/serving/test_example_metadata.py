"""Metadata of sealed detectors of images that were changed."""

import json

import onnx
import pytest
from serving_data import resealed

from serving.artifact import load_artifact
from serving.errors import IntegrityError

CHANGES = {
    "version": (lambda m: m.update(format_version=2), "format_version"),
    "shape": (lambda m: m["example"].update(shape=[8, 9]), "is not of the network's shape"),
    "dtype": (lambda m: m["example"].update(dtype="float64"), "is no image of this format"),
    "low": (lambda m: m["example"].update(low=0.0), "is no image of this format"),
    "channels": (lambda m: m["example"].update(channels="last"), "is not of the network's shape"),
    "groups": (lambda m: m["calibration"].update(group_column="x"), "has no groups"),
    "bounds": (lambda m: m["golden"].update(low=[0.0, 0.0]), "other bounds"),
    "scores": (lambda m: m["golden"]["anomaly_score"].__setitem__(0, 1e9), "golden rows disagree"),
    "rows": (lambda m: m["golden"].update(rows=[9] * 8), "golden rows disagree"),
    "map": (lambda m: m["map"].update(places=[2, 2]), "'map'"),
    "no map": (lambda m: m.update(map=None), "has a map since version 4"),
    "places": (lambda m: m["golden"]["highest_place"].__setitem__(0, 9.0), "places of golden rows disagree"),
    "alpha": (lambda m: m["calibration"].update(alpha=0.3), "alpha is not what the graph was built with"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_metadata_are_refused(detectors, tmp_path, name):
    change, words = CHANGES[name]
    model = onnx.load(detectors["image"][1])
    entries = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    change(entries)
    for entry in model.metadata_props:
        entry.value = json.dumps(entries[entry.key])
    with pytest.raises(IntegrityError, match=words):
        load_artifact(resealed(model))
