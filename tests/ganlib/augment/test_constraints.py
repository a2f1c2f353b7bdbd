"""Generated rows keep the constraints of the schema, with exact counts, whatever the columns' types."""

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib.augment import CVAEAugmenter, CVAEGANAugmenter
from ganlib.data.constraints import Combination, Order
from ganlib.data.inference import infer_schema
from ganlib.errors import DataError

torch.set_num_threads(1)
QUICK = {"steps": 30, "hidden": (16,), "latent_dim": 3}
COUNTRY = {"Rome": "IT", "Milan": "IT", "Paris": "FR", "Lyon": "FR", "Bonn": "DE"}


def related(rows=240, seed=0, layout=None, missing=0.0):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    end = start + pd.to_timedelta(rng.integers(0, 40, rows), unit="D")
    city = rng.choice(list(COUNTRY), rows)
    net = np.round(np.exp(rng.normal(size=rows)), 2)
    frame = pd.DataFrame(
        {
            "start": start if layout is None else start.strftime(layout),
            "end": end if layout is None else end.strftime(layout),
            "city": city,
            "country": [COUNTRY[c] for c in city],
            "net": net,
            "gross": np.round(net * rng.uniform(1, 1.3, rows), 2),
            "wait": pd.to_timedelta(rng.integers(0, 50, rows), unit="m"),
            "noise": rng.normal(size=rows),
        }
    )
    frame["total"] = frame["wait"] + pd.to_timedelta(rng.integers(0, 20, rows), unit="m")
    if missing:
        for name in ("start", "end", "city", "country", "net"):
            frame.loc[rng.random(rows) < missing, name] = None
    return frame, pd.Series(np.where(np.arange(rows) % 4 == 0, "b", "a"), name="label")


def breaches(made, layout=None):
    dates = [pd.to_datetime(made[n], format=layout) for n in ("start", "end")]
    both = made["city"].notna() & made["country"].notna()
    return {
        "dates": int((dates[0] > dates[1]).sum()),
        "money": int((made["net"] > made["gross"]).sum()),
        "durations": int((made["wait"] > made["total"]).sum()),
        "cities": int((made["city"].map(COUNTRY) != made["country"])[both].sum()),
    }


@pytest.mark.parametrize("kind", [CVAEAugmenter, CVAEGANAugmenter])
@pytest.mark.parametrize(("layout", "missing"), [(None, 0.0), ("%d.%m.%Y", 0.0), (None, 0.15), ("%d.%m.%Y", 0.15)])
def test_no_generated_row_breaks_a_constraint_and_counts_are_exact(kind, layout, missing):
    frame, label = related(layout=layout, missing=missing)
    fitted = kind(**QUICK).fit(frame, label)
    assert {c.kind for c in fitted.schema_.constraints} == {"order", "combination"}
    made = fitted.sample(conditions={"a": 70, "b": 41})
    assert breaches(made, layout) == {"dates": 0, "money": 0, "durations": 0, "cities": 0}
    assert made["label"].value_counts().to_dict() == {"a": 70, "b": 41}
    assert made[list(frame)].dtypes.equals(frame.dtypes)
    report = fitted.constraint_report_
    assert set(report) == {c.describe() for c in fitted.schema_.constraints}
    assert all(r["broken"] == r["redrawn"] + r["repaired"] for r in report.values())
    assert sum(r["broken"] for r in report.values()) > 0
    pd.testing.assert_frame_equal(made, fitted.sample(conditions={"a": 70, "b": 41}))


def test_without_constraints_the_same_model_breaks_them():
    from dataclasses import replace

    frame, label = related()
    schema = replace(infer_schema(frame, for_generation=True), constraints=())
    fitted = CVAEAugmenter(schema=schema, **QUICK).fit(frame, label)
    assert all(n > 0 for n in breaches(fitted.sample(200)).values())
    assert fitted.constraint_report_ == {}


def test_resampled_and_augmented_rows_keep_them():
    frame, label = related()
    X, _ = CVAEAugmenter(**QUICK).fit_resample(frame, label)
    assert len(X) == 360
    assert sum(breaches(X).values()) == 0
    made = CVAEAugmenter(**QUICK).augment(frame, rows=50, only_synthetic=True)
    assert len(made) == 50
    assert sum(breaches(made).values()) == 0


@pytest.mark.parametrize("rounds", [0, 10])
def test_repair_alone_keeps_chains_and_linked_categories(rounds, monkeypatch):
    monkeypatch.setattr("ganlib.augment.constraints.ROUNDS", rounds)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 100, 300), "shop": rng.choice(list("uvwxyz"), 300)})
    frame["b"] = frame["a"] + rng.uniform(0, 30, 300)
    frame["c"] = np.ceil(frame["b"]).astype(int) + rng.integers(0, 30, 300)
    frame["region"] = frame["shop"].map(dict(zip("uvwxyz", "nnnsss", strict=True)))
    frame["till"] = frame["shop"] + rng.choice(list("12"), 300)
    fitted = CVAEAugmenter(**QUICK).fit(frame)
    made = fitted.sample(150)
    assert (made["a"] <= made["b"]).all()
    assert (made["b"] <= made["c"]).all()
    assert set(made["shop"] + made["region"] + made["till"]) <= set(frame["shop"] + frame["region"] + frame["till"])
    assert all(r["repaired"] == r["broken"] for r in fitted.constraint_report_.values()) or rounds


def test_an_order_that_no_row_can_keep_is_an_error_with_counts():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.uniform(0, 5, 100), "b": rng.uniform(6, 9, 100), "k": rng.choice(list("pq"), 100)})
    schema = infer_schema(frame, for_generation=True)
    from dataclasses import replace

    with pytest.raises(DataError, match="'b <= a' is broken by 100 of 100 training rows"):
        CVAEAugmenter(schema=replace(schema, constraints=(Order("b", "a"),)), **QUICK).fit(frame)
    apart = replace(schema.with_column("a", minimum=20, maximum=30), constraints=(Order("a", "b"),))
    fitted = CVAEAugmenter(schema=apart, **QUICK).fit(frame)
    with pytest.raises(DataError, match="'a <= b' in 40 of 40 generated rows"):
        fitted.sample(40)


def test_a_constraint_that_training_rows_break_or_that_is_not_generated_warns():
    from dataclasses import replace

    frame, _ = related()
    frame.loc[:4, "gross"] = 0.0
    schema = infer_schema(frame, for_generation=True)
    assert Order("net", "gross") not in schema.constraints
    with pytest.warns(UserWarning, match="'net <= gross' is broken by 5 of 240 training rows"):
        fitted = CVAEAugmenter(schema=replace(schema, constraints=(Order("net", "gross"),)), **QUICK).fit(frame)
    assert (fitted.sample(60)["net"] <= fitted.sample(60)["gross"]).all()
    dropped = replace(schema.with_column("city", role="dropped"), constraints=(Combination(("city", "country")),))
    with pytest.warns(UserWarning, match="not generated: combinations of city, country"):
        CVAEAugmenter(schema=dropped, **QUICK).fit(frame)
