"""`ganlib train` without --model: a fusion, registered, scored, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused, sensor_table

from pipelines.rows import read_labels, spare_for_weights, split_for_detection
from pipelines.sections import DataSettings

GIVEN = ("--data", "data.csv", "--alpha", 0.2, "--steps", 5)


def test_curves_of_a_fusion_are_drawn_by_member():
    from pipelines.report import _by_member

    curves = {"auto": {"vae/kl": [1.0], "vae/validation": [2.0], "histogram/nll": [3.0]}, "dcgan": {"critic": [4.0]}}
    by_member = {"vae": {"kl": [1.0], "validation": [2.0]}, "histogram": {"nll": [3.0]}, "dcgan": {"critic": [4.0]}}
    assert _by_member(curves) == by_member


@pytest.fixture
def data(home):
    sensor_table(120).drop(columns="fault").to_csv("data.csv", index=False)
    sensor_table(120).to_csv("known.csv", index=False)


@pytest.mark.trained
def test_the_default_is_a_fusion_that_says_what_it_is_made_of(ganlib, registry, data):
    code, out, err = ganlib("train", "--name", "fused", *GIVEN)
    assert code == 0 and "registered fused version 1 as challenger (auto)" in out, err
    assert "fused: histogram 0.14, gaussian_mixture 0.14, centroid_kernels 0.14, denoising_score 0.29, vae" in err
    assert "of the training rows were dropped as suspect" in err and "chosen" not in out + err
    card = registry.version("fused", "1").card
    assert "Anomaly detector of table rows** `auto`" in card and "usual weights" in card
    code, out, err = ganlib("score", "--model", "models:/fused@challenger", "--input", "data.csv", "--output", "s")
    assert code == 0, err


@pytest.mark.trained
def test_known_anomalies_weigh_the_members_and_others_judge(ganlib, registry, data):
    odd = sensor_table(80, seed=1).assign(fault=1, pressure=lambda frame: frame["pressure"].to_numpy()[::-1])
    pd.concat([sensor_table(240), odd]).to_csv("known.csv", index=False)
    known = ("--data", "known.csv", "--label", "fault", *GIVEN[2:])
    code, out, err = ganlib("train", "--name", "weighed", *known)
    assert code == 0 and "known anomalies: AUPRC" in err and "on anomalies held out" in err, err
    assert "known anomalies: AUPRC" in registry.version("weighed", "1").card


def test_rows_that_weigh_are_not_judged_and_few_are_not_divided():
    frame = sensor_table(240).assign(fault=(np.arange(240) % 4 == 0).astype(int))
    marks, features = read_labels(frame, "fault", None), frame.drop(columns="fault")
    parts = split_for_detection(features, marks, DataSettings(label="fault"), seed=0)
    spared = spare_for_weights(parts, features, marks.anomalous, 0)
    assert set(spared["validation"]) | set(spared["weighing"]) == set(parts["validation"])
    assert not set(spared["validation"]) & set(spared["weighing"]) and marks.anomalous[spared["weighing"]].all()
    assert min(len(spared["weighing"]), marks.anomalous[spared["validation"]].sum()) >= 6
    assert {part: spared[part] for part in ("fit", "test")} == {part: parts[part] for part in ("fit", "test")}
    few = {**parts, "validation": spared["validation"][:20]}
    assert spare_for_weights(few, features, marks.anomalous, 0) == few


@pytest.mark.parametrize("label", [None, "fault"])
def test_candidates_are_fused_unless_known_anomalies_can_choose(ganlib, home, data, label):
    (home / "job.yaml").write_text("model: {candidates: [histogram, vae]}\n")
    known = ("--data", "known.csv", "--label", "fault", *GIVEN[2:]) if label else GIVEN
    given = ("train", "--name", "two", *known, "--config", "job.yaml")
    code, out, err = ganlib(*given, "--dry-run")
    assert code == 0 and ("model: histogram, vae" if label else "model: auto, which fuses histogram, vae") in out, err
    code, out, err = ganlib(*given, "--json")
    done = json.loads(out)
    assert code == 0 and set(done["validation"]) >= ({"histogram", "vae"} if label else {"auto"}), err
    assert ("chosen by AUPRC" in err) == bool(label) and ("histogram 0.50, vae 0.50" in err) == (not label)


@pytest.mark.parametrize(
    ("options", "job", "words"),
    [
        (("--budget", "soon"), "", ("30s",)),
        (("--budget", "9s", "--model", "vae"), "", ("model.budget", "is for auto")),
        (("--budget", "9s", "--model", "cvae_gan"), "", ("--budget is for detectors", "--steps")),
        (("--model", "vae"), "model: {contamination: 0.1}\n", ("model.contamination", "is for auto")),
        ((), "training: {learning_rate: 0.1}\n", ("learning_rate", "fuses several", "--model")),
        ((), "training: {latent_dim: 3}\nmodel: {candidates: [vae, histogram]}\n", ("latent_dim", "fuses several")),
        ((), "model: {candidates: [cvae_gan]}\n", ("does not detect",)),
    ],
)
def test_what_would_be_ignored_is_rejected_before_any_work(ganlib, home, data, options, job, words):
    (home / "job.yaml").write_text(job)
    refused(ganlib("train", "--name", "x", *GIVEN, *options, *(("--config", "job.yaml") if job else ())), 2, *words)


def test_a_budget_is_not_for_candidates_that_are_compared(ganlib, home, data):
    (home / "job.yaml").write_text("model: {candidates: [histogram, vae], budget: 9s}\n")
    known = ("--data", "known.csv", "--label", "fault", *GIVEN[2:], "--config", "job.yaml")
    refused(ganlib("train", "--name", "x", *known), 2, "model.budget", "compared by known anomalies")
