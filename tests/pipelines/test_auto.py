"""`ganlib train` without --model: a fusion, registered, scored, and what it refuses."""

import json

import pytest
from pipeline_data import refused, sensor_table

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


def test_the_default_is_a_fusion_that_says_what_it_is_made_of(ganlib, registry, data):
    code, out, err = ganlib("train", "--name", "fused", *GIVEN)
    assert code == 0 and "registered fused version 1 as challenger (auto)" in out, err
    assert "fused: histogram 0.14, gaussian_mixture 0.14, centroid_kernels 0.14, denoising_score 0.29, vae" in err
    assert "of the training rows were dropped as suspect" in err and "chosen" not in out + err
    card = registry.version("fused", "1").card
    assert "Anomaly detector of table rows** `auto`" in card and "usual weights" in card
    code, out, err = ganlib("score", "--model", "models:/fused@challenger", "--input", "data.csv", "--output", "s")
    assert code == 0, err


def test_known_anomalies_weigh_the_members_and_the_card_says_so(ganlib, registry, data):
    known = ("--data", "known.csv", "--label", "fault", *GIVEN[2:])
    code, out, err = ganlib("train", "--name", "weighed", *known)
    assert code == 0 and "known anomalies: AUPRC" in err and "on anomalies held out" in err, err
    assert "known anomalies: AUPRC" in registry.version("weighed", "1").card


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
