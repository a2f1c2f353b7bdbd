"""The automatic augmenter: members share the rows; real rows come back alone where generated ones would hurt."""

import warnings

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from ganlib import AutoAugmenter, as_augmenter
from ganlib.augment import auto, lift
from ganlib.augment.arms import BAGGING, COPIES, MODEL, NONE, SMOTE, TITLES, WEIGHTS, judge_split
from ganlib.augment.lift import Lift, measure_lift
from ganlib.errors import ConfigError
from ganlib.export.augmenter import seal_augmenter

QUICK = {"members": ["adversarial_forest", "gaussian"]}


def rows(seed, common=300, scarce=20):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(common + scarce, 3)), columns=list("abc"))
    frame.iloc[common:, :2] += 2.0
    frame["kind"] = rng.choice(["x", "y"], len(frame))
    return frame, np.repeat(["usual", "rare"], [common, scarce])


def judged(**arms):
    """Ten splits of which each arm has this mean over the real rows alone, and little spread."""
    base = np.linspace(0.5, 0.6, 10)
    wobble = 0.001 * np.resize([1, -1], 10)
    return Lift({NONE: base.tolist()} | {arm: (base + gain + wobble).tolist() for arm, gain in arms.items()}, 0.3)


def test_members_share_the_rows_of_the_sealed_file():
    frame, y = rows(0)
    fitted = AutoAugmenter(**QUICK, steps=5).fit(frame, y)
    assert fitted.algorithm_.config.to_dict() == {"members": ["adversarial_forest", "gaussian"]}
    sampler = fitted.algorithm_.sampler()
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((4000, sampler.latent_dim), dtype=np.float32))
    classes = torch.arange(4000) % 2
    made = sampler(z, classes)
    each = [model.sampler() for model in fitted.algorithm_.models]
    own = torch.stack([(made == one(z[:, 1 : 1 + one.latent_dim], classes)).all(1) for one in each])
    assert own.any(0).all() and (own.float().mean(1) - 0.5).abs().max() < 0.03
    sealed = seal_augmenter(fitted)  # compares the graph with torch
    session = onnxruntime.InferenceSession(sealed.model.SerializeToString())
    out = session.run(None, {"z": z.numpy(), "condition": np.array(["usual", "rare"], object)[classes.numpy()]})
    found = dict(zip([o.name for o in session.get_outputs()], out, strict=True))
    rare = classes.numpy() == list(fitted.classes_).index("rare")
    assert abs(np.median(found["a"][rare]) - np.median(found["a"][~rare])) > 1


def test_every_kind_of_data_has_members_and_the_name_auto():
    frame, y = rows(0)
    assert as_augmenter("auto", members=["gaussian"], compare=False).fit(frame, y).sample(3).shape == (3, 5)
    images = (np.random.default_rng(0).random((40, 8, 8)) * 255).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labelled = AutoAugmenter(steps=2, modality="image").fit(images, [0, 1] * 20)
        made, _ = labelled.sample(4)
        assert labelled.algorithm_.registered == "learned_warps"
        unlabelled = AutoAugmenter(steps=2, modality="image").fit(images)
    assert made.shape == (4, 8, 8) and made.dtype == np.uint8
    assert unlabelled.sample(4).shape == (4, 8, 8) and unlabelled.algorithm_.registered == "cvae_gan"
    with pytest.raises(ConfigError, match="one model or more"):
        AutoAugmenter(members=[]).fit(frame, y)
    with pytest.raises(ConfigError, match="fused for tables"):
        AutoAugmenter(members=["cvae", "cvae_gan"], modality="image").fit(images, [0, 1] * 20)


@pytest.mark.parametrize("frames", [True, False])
def test_real_rows_come_back_alone_where_generated_ones_would_hurt(monkeypatch, frames):
    frame, y = rows(1)
    X = frame.drop(columns="kind") if frames else frame.drop(columns="kind").to_numpy()
    monkeypatch.setattr(auto, "measure_lift", lambda *_, **__: judged(**{MODEL: -0.05, WEIGHTS: 0.03, SMOTE: -0.01}))
    one = AutoAugmenter(**QUICK)
    with pytest.warns(UserWarning, match=r"no rows were added: .*-0\.050 .*class weights did best \(\+0\.030"):
        made, labels = one.fit_resample(X, y)
    assert one.choice_ == NONE and one.verdict_.expected[MODEL].mean < 0
    assert np.array_equal(np.asarray(made), np.asarray(X)) and list(labels) == list(y)
    table = frame.assign(label=y)
    with pytest.warns(UserWarning, match="no rows were added"):
        same = AutoAugmenter(**QUICK).augment(table, "label")
    pd.testing.assert_frame_equal(same.drop(columns="_synthetic"), table)
    assert not same["_synthetic"].any()
    # With a number of rows, and with compare=False, there is nothing to compare.
    assert len(AutoAugmenter(**QUICK).augment(table, "label", 7)) == len(table) + 7
    assert len(AutoAugmenter(**QUICK, compare=False).fit_resample(X, y)[0]) == 600


def test_rows_are_added_where_they_are_expected_to_help(monkeypatch):
    frame, y = rows(1)
    monkeypatch.setattr(auto, "measure_lift", lambda *_, **__: judged(**{MODEL: 0.02}))
    one = AutoAugmenter(**QUICK)
    made, labels = one.fit_resample(frame, y)
    assert one.choice_ == MODEL and (pd.Series(labels).value_counts() == 300).all()
    pd.testing.assert_frame_equal(made.iloc[: len(frame)], frame)


def test_a_comparison_that_is_not_possible_is_said():
    frame, y = rows(0, scarce=3)
    with pytest.warns(UserWarning, match="not compared with the real rows alone: the lift needs two classes"):
        made, _ = AutoAugmenter(**QUICK).fit_resample(frame, y)
    assert len(made) == 600


def test_the_comparison_trains_the_learner_that_rows_are_for():
    from sklearn.linear_model import LogisticRegression

    frame, y = rows(2)
    one = AutoAugmenter(**QUICK, learner=LogisticRegression(), repeats=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one.fit_resample(frame, y)
    assert one.comparison_.measure == "macro AUPRC of LogisticRegression on held-out real rows"
    assert set(one.comparison_.arms) == set(TITLES) == set(one.verdict_.expected)
    assert all(len(figures) == 3 for figures in one.comparison_.arms.values())


def test_arms_without_generated_rows_are_what_their_names_say():
    """On classes that differ in weight alone: weights and bags change a linear model's offset, and so no ranking."""
    from sklearn.neighbors import KNeighborsClassifier

    frame, y = rows(3, common=400, scarce=100)
    real, test = frame.assign(label=y), rows(4, common=400, scarce=100)
    made = real[real["label"] == "rare"].sample(300, replace=True, random_state=0)
    found = judge_split(real, made, test[0].assign(label=test[1]), "label", 0, KNeighborsClassifier(25)).arms
    assert found[WEIGHTS] == found[NONE]  # a learner without sample weights
    assert found[COPIES] == pytest.approx(found[MODEL], abs=0.05) and min(found.values()) > 0.7
    assert judge_split(real, made, real, "label").arms[BAGGING] > 0.9


def test_splits_have_their_own_seeds_and_end_in_time(monkeypatch):
    seeds = []

    class Seen(AutoAugmenter):
        def augment(self, frame, label, rows=None, **options):
            seeds.append((self.random_state, self.compare))
            return frame.iloc[-5:]

    frame, y = rows(0, common=40)
    found = measure_lift(Seen(random_state=7), frame.assign(label=y), "label", repeats=4)
    assert seeds == [(7, False), (8, False), (9, False), (10, False)] and len(found.arms[NONE]) == 4
    found = measure_lift(Seen(), frame.assign(label=y), "label", repeats=9, seconds=1e-6)
    assert len(found.arms[NONE]) == lift.LEAST_SPLITS
