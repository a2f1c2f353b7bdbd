"""The automatic detector: fusion, suspect rows, budget, and what it refuses."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from ganlib import AutoDetector, as_detector, create
from ganlib.data.inference import infer_schema
from ganlib.data.spec import DataSpec
from ganlib.detect.fusion import Fusion, FusionConfig, scale_of
from ganlib.detect.weights import weigh
from ganlib.errors import ConfigError
from ganlib.export import seal
from ganlib.metrics.detection import auroc
from ganlib.training import Trainer, TrainerConfig
from serving.artifact import load_artifact
from serving.scorer import Scorer

QUICK = {"members": ["histogram", "gaussian_mixture", "vae"], "steps": 20}


def rows(n, seed, columns=6):
    """Rows near a plane, far from round: a dependence that single columns do not show."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 2))
    mix = np.random.default_rng(7).normal(size=(2, columns))
    return pd.DataFrame(hidden @ mix + 0.1 * rng.normal(size=(n, columns)), columns=[f"c{i}" for i in range(columns)])


@pytest.fixture(scope="module")
def fitted():
    return AutoDetector(**QUICK).fit(rows(600, 0))


def test_the_score_is_the_mean_of_the_members_on_their_scales(fitted):
    assert fitted.members_ == dict.fromkeys(QUICK["members"], 1 / 3)
    x = torch.from_numpy(fitted.encoder_.transform(rows(50, 1))).double()
    with torch.no_grad():
        parts = fitted._double_scorer_.parts(x).sum(1)
    assert np.allclose(parts, fitted.anomaly_score(rows(50, 1)), rtol=1e-5, atol=1e-5)
    assert set(fitted.history_.curves) >= {"vae/kl", "histogram/nll"} or fitted.history_.curves
    assert fitted.algorithm_.config.to_dict()["members"] == QUICK["members"]


def test_a_row_like_the_highest_tenth_scores_one_and_the_median_row_nothing():
    scores = torch.arange(101.0)
    centre, unit = scale_of(scores)
    assert float(centre) == 50 and float(unit) == pytest.approx(95.5 - 50)
    config = FusionConfig(members=("a", "b"), weights=(0.5, 0.5))
    fusion = Fusion({"a": torch.nn.Flatten(0), "b": torch.nn.Flatten(0)}, scores, config)
    assert fusion(torch.tensor([50.0, 95.5])).tolist() == pytest.approx([0.0, 1.0])
    assert torch.isfinite(scale_of(torch.zeros(10))[1]) and scale_of(torch.zeros(10))[1] > 0


def test_sealed_it_scores_and_decides_alike(fitted, tmp_path):
    seal(fitted, tmp_path / "auto.onnx")
    strange = rows(40, 2).sample(frac=1, axis=1, random_state=0).set_axis([f"c{i}" for i in range(6)], axis=1)
    got = Scorer(load_artifact(tmp_path / "auto.onnx")).score(strange)
    assert np.allclose(got.anomaly_score, fitted.anomaly_score(strange), rtol=1e-4, atol=1e-4)
    assert np.allclose(got.p_value, fitted.p_value(strange), atol=1e-4)  # documented: ties fade, within rounding
    assert any(fitted.top_reasons(strange))


@pytest.mark.trained
def test_one_seed_gives_one_detector(fitted):
    again = clone(fitted).fit(rows(600, 0))
    assert np.array_equal(again.anomaly_score(rows(50, 1)), fitted.anomaly_score(rows(50, 1)))


@pytest.mark.trained
def test_far_rows_among_the_training_rows_are_dropped_and_then_found():
    rng = np.random.default_rng(3)
    far = pd.DataFrame(6 + 0.2 * rng.normal(size=(30, 6)), columns=[f"c{i}" for i in range(6)])
    dirty = pd.concat([rows(600, 0), far], ignore_index=True)
    truth = np.r_[np.zeros(600), np.ones(30)]
    chosen = {"members": ["gaussian_mixture"], "steps": 100}
    figures = {}
    for share in ("auto", 0.1, 0.0):
        detector = AutoDetector(**chosen, contamination=share).fit(dirty)
        figures[share] = auroc(detector.anomaly_score(dirty), truth)
        if share != "auto":
            assert detector.dropped_ == pytest.approx(share, abs=0.005)
    assert figures["auto"] > 0.99 and figures[0.1] > 0.99 and figures[0.0] < 0.9, figures
    assert AutoDetector(**chosen).fit(rows(600, 0)).dropped_ < 0.05


def test_rows_are_not_suspect_because_most_others_are_alike():
    alike = pd.concat([pd.DataFrame(0.0, index=range(320), columns=[f"c{i}" for i in range(6)]), rows(80, 0)])
    assert AutoDetector(["histogram"], steps=2, alpha=0.05).fit(alike).dropped_ == 0
    fewer = pd.concat([alike[:290], rows(110, 0)])  # nearly three quarters
    assert AutoDetector(["histogram"], steps=2, alpha=0.05).fit(fewer).dropped_ <= 0.1


@pytest.mark.parametrize("shape", ["uniform", "normal", "exponential", "plane"])
def test_strange_rows_are_dropped_and_rows_of_a_clean_table_hardly_ever(shape):
    rng = np.random.default_rng(4)
    names = [f"c{i}" for i in range(6)]
    draw = {"uniform": rng.uniform, "normal": rng.normal, "exponential": rng.exponential}
    clean = rows(1500, 0) if shape == "plane" else pd.DataFrame(draw[shape](size=(1500, 6)), columns=names)
    assert AutoDetector(["histogram"], steps=2).fit(clean).dropped_ < 0.02
    far = clean.median().to_numpy() + clean.std().to_numpy() * 9 * rng.normal(size=(90, 6))
    strange = pd.DataFrame(far, columns=names)
    found = AutoDetector(["histogram"], steps=2).fit(pd.concat([clean, strange])).dropped_
    assert 0.03 < found < 0.08, found


def test_no_single_member_decides_and_no_scores_are_tied():
    fusion = Fusion(
        {"a": torch.nn.Flatten(0), "b": torch.nn.Flatten(0)}, torch.arange(101.0),
        FusionConfig(members=("a", "b"), weights=(0.5, 0.5)),
    )  # fmt: skip
    far = fusion(torch.tensor([100.0, 1e3, 1e4, 1e6]))
    assert (far.diff() > 0).all()
    slope = lambda x: float(fusion(torch.tensor([x, x + 45.5])).diff())  # noqa: E731
    assert slope(100.0) == pytest.approx(1.0) and slope(1e4) == pytest.approx(0.1, abs=0.01)


def known(n, seed):
    """Normal rows, and anomalies that keep each column's values but not their dependence."""
    odd = rows(n, seed)
    for i, column in enumerate(odd):
        odd[column] = odd[column].sample(frac=1, random_state=i).to_numpy()
    return odd


@pytest.mark.trained
def test_known_anomalies_move_the_weights_and_the_gain_shows_on_new_rows():
    normal, members = rows(600, 0), {"members": ["histogram", "gaussian_mixture", "vae"], "steps": 200}
    both = pd.concat([normal, known(20, 5)], ignore_index=True)
    marked = AutoDetector(**members).fit(both, np.r_[np.zeros(600), np.ones(20)])
    assert marked.members_["histogram"] < 0.3 < marked.members_["gaussian_mixture"], marked.members_
    usual, fitted = marked.held_out_
    assert fitted > usual and marked.algorithm_.config.known == 20
    plain = AutoDetector(**members).fit(normal)
    assert plain.held_out_ == ()
    fresh, truth = pd.concat([rows(400, 8), known(200, 9)]), np.r_[np.zeros(400), np.ones(200)]
    assert auroc(marked.anomaly_score(fresh), truth) > auroc(plain.anomaly_score(fresh), truth)


def test_weights_stay_usual_where_fitted_ones_are_not_better_on_anomalies_held_out():
    rng = np.random.default_rng(0)
    same = torch.from_numpy(np.repeat(rng.normal(size=(60, 1)), 3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # people would see those of torch
        found = weigh(same[:20] + 1, same[20:], torch.tensor([0.2, 0.3, 0.5]))
    assert found.weights == pytest.approx((0.2, 0.3, 0.5)) and found.fitted == found.usual


@pytest.mark.trained
def test_too_few_known_anomalies_leave_the_weights_alone():
    both = pd.concat([rows(600, 0), known(5, 5)], ignore_index=True)
    detector = AutoDetector(**QUICK).fit(both, np.r_[np.zeros(600), np.ones(5)])
    assert detector.held_out_ == () and set(detector.members_.values()) == {1 / 3}


def test_known_anomalies_that_cannot_be_read_do_not_stop_training():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(200, 2, 30))
    series[-7:] = np.nan
    truth = np.r_[np.zeros(193), np.ones(7)]
    members = {"members": ["centroid_kernels", "principal_mixture"], "modality": "series", "alpha": 0.1, "steps": 2}
    with pytest.warns(UserWarning, match="do not weigh the members: series must be finite"):
        assert AutoDetector(**members).fit(series, truth).held_out_ == ()


@pytest.mark.trained
def test_a_label_column_of_the_schema_names_the_anomalies_that_weigh():
    frame = pd.concat([rows(600, 0), known(20, 5)], ignore_index=True)
    frame["state"] = ["normal"] * 600 + ["odd"] * 20
    detector = AutoDetector(**QUICK, schema=infer_schema(frame, label="state")).fit(frame)
    assert detector.algorithm_.config.known == 20 and len(detector.held_out_) == 2


def test_members_that_do_not_end_in_time_are_left_out():
    with pytest.warns(UserWarning, match="alpha"):
        detector = AutoDetector(["histogram", "vae"], budget="0.001s", steps=90).fit(rows(200, 0))
    assert list(detector.members_) == ["histogram"] and "budget" in detector.left_out_["vae"]
    assert np.isfinite(detector.anomaly_score(rows(20, 1))).all()


def test_a_mixture_of_very_many_columns_is_left_out_and_says_so():
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 1600))).rename(columns=str)
    with pytest.warns(UserWarning, match="alpha"):
        detector = AutoDetector(["histogram", "gaussian_mixture"], steps=2).fit(wide)
    assert "too many" in detector.left_out_["gaussian_mixture"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"members": ["nonesuch"]}, "nonesuch"),
        ({"members": ["cvae_gan"]}, "does not detect"),
        ({"members": []}, "one model or more"),
        ({"members": ["vae", "vae"]}, "each once"),
        ({"budget": "soon"}, "30s"),
        ({"budget": "0s"}, "above 0"),
        ({"contamination": 1.0}, "contamination"),
        ({"trainer": {"checkpoint": "x"}}, "checkpoint"),
    ],
)
def test_what_it_cannot_use_is_rejected(parameters, message):
    with pytest.raises(ConfigError, match=message):
        AutoDetector(**parameters).fit(rows(60, 0))


def test_it_is_made_by_name():
    assert isinstance(as_detector("auto", alpha=0.05), AutoDetector)
    with pytest.raises(ConfigError, match=r"auto.*latent_dim"):
        as_detector("auto", latent_dim=3)


def test_series_are_fused_too():
    rng = np.random.default_rng(0)
    X = np.sin(np.linspace(0, 9, 24) + rng.uniform(0, 6, (60, 1, 1)))
    detector = AutoDetector(steps=2, modality="series", alpha=0.2).fit(X)
    assert detector.anomaly_score(X).shape == (60,) and detector.dropped_ == 0


@pytest.mark.trained
@pytest.mark.parametrize("seed", range(3))
def test_em_on_batches_reaches_the_likelihood_of_em_on_all_rows(seed):
    rng = np.random.default_rng(seed)
    centres = 4 * rng.normal(size=(4, 3))
    x, held = (centres[rng.integers(4, size=n)] + rng.normal(size=(n, 3)) for n in (1500, 1500))
    torch.manual_seed(seed)
    model = create("gaussian_mixture", DataSpec.vector(3), components=4, floor=1e-3, updates="em")
    config = TrainerConfig(steps=150, batch_size=500, random_state=seed, device="cpu")
    Trainer(config).fit(model, {"x": torch.tensor(x, dtype=torch.float32)})
    with torch.no_grad():
        ours = float(model.log_prob(torch.tensor(held, dtype=torch.float32)).mean())
    theirs = max(GaussianMixture(4, random_state=s).fit(x).score(held) for s in range(3))
    one = GaussianMixture(1).fit(x).score(held)
    assert ours > theirs - 0.1 * (theirs - one), (ours, theirs, one)


def test_rows_held_out_are_scored_by_members_that_did_not_learn_them():
    """With few rows closed-form members learn the calibration rows too: p-values stay those of unseen rows."""
    rates, learned = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, new = rng.normal(size=(200, 10)), rng.normal(size=(2000, 10))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector = AutoDetector(["histogram", "centroid_kernels"], alpha=0.1, contamination=0, random_state=seed)
            detector.fit(x)
        rates.append((detector.p_value(new) <= 0.1).mean())
        # The final members learned nine rows of ten: judged by those, far too many new rows would alarm.
        learned.append((detector.anomaly_score(new) > np.quantile(detector.anomaly_score(x), 0.9)).mean())
    error = np.std(rates) / len(rates) ** 0.5
    assert np.mean(rates) <= 0.1 + 2 * error and np.mean(learned) > 0.15, (rates, learned)


def test_rows_of_a_run_are_not_learned_by_members_that_score_others_of_it(monkeypatch):
    """Windows of a run share rows: if some were learned, the others would score too low."""
    seen, cross_fitted = [], AutoDetector._cross_fitted

    def watched(self, fit, config, fitted):
        seen.append((fit.held_out, fit.folds))
        return cross_fitted(self, fit, config, fitted)

    monkeypatch.setattr(AutoDetector, "_cross_fitted", watched)
    runs = np.repeat(np.arange(30), 10)
    x = np.random.default_rng(0).normal(size=(30, 2))[runs]  # a row says which run it is of
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = AutoDetector(["histogram"], alpha=0.1, contamination=0)
        detector.fit(x, runs=runs)
    ((held_out, folds),) = seen
    of = [{float(v) for v in held_out[fold][:, 0].numpy().round(4)} for fold in folds]
    assert all(0 < len(values) <= 3 for values in of)
    assert sum(int(fold.sum()) for fold in folds) == len(held_out) and len(folds) == 5
    assert all(not (one & other) for i, one in enumerate(of) for other in of[i + 1 :])


def test_a_member_of_fixed_steps_takes_them_unless_a_budget_is_stated(monkeypatch):
    from ganlib.detect import auto
    from ganlib.detect.members import Member

    monkeypatch.setattr(auto, "MEMBERS", {"table": (Member("vae", steps=7),)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert AutoDetector(contamination=0).fit(rows(300, 0)).history_.steps == 7
        assert AutoDetector(contamination=0, steps=3).fit(rows(300, 0)).history_.steps == 3
        assert AutoDetector(contamination=0, trainer={"steps": 4}).fit(rows(300, 0)).history_.steps == 4
