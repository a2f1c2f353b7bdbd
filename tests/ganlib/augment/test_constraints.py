"""Generated rows keep the constraints of the schema, with exact counts, whatever the columns' types."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

from ganlib.augment import CVAEAugmenter, CVAEGANAugmenter
from ganlib.augment.constraints import keeper_of
from ganlib.data.constraints import Combination, Order
from ganlib.data.inference import infer_schema
from ganlib.errors import ConfigError, DataError
from ganlib.export import seal
from ganlib.export.augmenter import _constraints
from serving.artifact import load_artifact
from serving.errors import IntegrityError
from serving.generator import Generator
from serving.opening.hashes import hashes_of

torch.set_num_threads(1)
QUICK = {"steps": 30, "hidden": (16,), "latent_dim": 3}
COUNTRY = {"Rome": "IT", "Milan": "IT", "Paris": "FR", "Lyon": "FR", "Bonn": "DE"}


def related(rows=240, seed=0, layout=None, missing=0.0):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    end = start + pd.to_timedelta(rng.integers(0, 120, rows), unit="D")
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
    monkeypatch.setattr("serving.table.relations.keeping.ROUNDS", rounds)
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
    with pytest.raises(DataError, match="'b <= a' is broken by 100 of 100 training rows"):
        CVAEAugmenter(schema=replace(schema, constraints=(Order(("b", "a")),)), **QUICK).fit(frame)
    apart = replace(schema.with_column("a", minimum=20, maximum=30), constraints=(Order(("a", "b")),))
    fitted = CVAEAugmenter(schema=apart, **QUICK).fit(frame)
    with pytest.raises(DataError, match="'a <= b' in 40 of 40 generated rows"):
        fitted.sample(40)


def test_a_constraint_that_training_rows_break_warns():
    frame, _ = related()
    frame.loc[:4, "gross"] = 0.0
    schema = infer_schema(frame, for_generation=True)
    assert Order(("net", "gross")) not in schema.constraints
    with pytest.warns(UserWarning, match="'net <= gross' is broken by 5 of 240 training rows"):
        fitted = CVAEAugmenter(schema=replace(schema, constraints=(Order(("net", "gross")),)), **QUICK).fit(frame)
    assert (fitted.sample(60)["net"] <= fitted.sample(60)["gross"]).all()


def test_a_constraint_on_what_is_not_generated_is_an_error():
    frame, _ = related()
    schema = infer_schema(frame, label="city", for_generation=True)
    schema = replace(schema, constraints=(Combination(("city", "country")),))
    with pytest.raises(ConfigError, match="'combinations of city, country' names 'city', which is not generated"):
        CVAEAugmenter(schema=schema, **QUICK).fit(frame)


def everything(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    frame, label = related(rows, seed)
    city = frame["city"].map(lambda c: 100 + sorted(COUNTRY).index(c))
    base, count = rng.normal(20, 5, rows), rng.integers(1, 12, rows)
    tax = np.round(rng.gamma(3, 5, rows), 2)
    frame = frame[["start", "end", "city", "country", "net", "wait"]].assign(
        area=city, tax=tax, count=count, total=np.round(frame["net"] + tax, 2), paid=np.round(frame["net"] * count, 2),
        inside=np.round(base, 3), outside=np.round(1.8 * base + 32 + rng.normal(0, 0.4, rows), 3),
        until=frame["start"] + frame["wait"],
    )  # fmt: skip
    return frame, label


def every_kind(made):
    days = (made["start"] <= made["end"]).all()
    words = (made["city"].map(COUNTRY) == made["country"]).all()
    codes = (made["city"].map(lambda c: 100 + sorted(COUNTRY).index(c)) == made["area"]).all()
    total = (np.round(made["net"] + made["tax"], 2) == made["total"]).all()
    paid = ((made["net"] * made["count"] - made["paid"]).abs() <= 0.005 + 1e-9).all()
    until = (made["start"] + made["wait"] == made["until"]).all()
    line = (made["outside"] - 1.8 * made["inside"] - 32).abs().max() < 3
    return [days, words, codes, total, paid, until, line]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A fitted augmenter of relations of every kind, and its file."""
    frame, label = everything()
    fitted = CVAEAugmenter(**QUICK).fit(frame, label)
    path = tmp_path_factory.mktemp("sealed") / "a.onnx"
    seal(fitted, path)
    return fitted, path, frame


def test_estimator_and_sealed_file_keep_the_same(sealed):
    fitted, path, frame = sealed
    assert {c.kind for c in fitted.schema_.constraints} == {"combination", "line", "order", "product", "sum"}
    assert all(every_kind(fitted.sample(conditions={"a": 150, "b": 50})))
    artifact = load_artifact(path)
    assert [r["kind"] for r in artifact.relations] == [c.kind for c in fitted.schema_.constraints]
    generator = Generator(artifact)
    classes = ["a", "b", "b"] * 60
    made = generator.frame(180, classes, seed=3)
    assert all(every_kind(made))
    assert made.dtypes.equals(frame[list(made)].dtypes)
    assert set(generator.constraint_report) == set(fitted.constraint_report_)
    for counts in generator.constraint_report.values():
        assert counts["broken"] == counts["redrawn"] + counts["repaired"]
    assert sum(c["broken"] for c in generator.constraint_report.values()) > 180
    pd.testing.assert_frame_equal(made, generator.frame(180, classes, seed=3))
    raw = generator.generate(180, classes, seed=3)
    np.testing.assert_array_equal(raw["start"] + raw["wait"] * 1e6, raw["until"])
    assert len(generator.frame(0, [])) == 0 and len(fitted.sample(0)) == 0


def changed(path, target, edit, rehash=False):
    model = onnx.load(path)
    facts = {entry.key: entry for entry in model.metadata_props}
    entries = json.loads(facts["constraints"].value)
    facts["constraints"].value = json.dumps(edit(entries))
    if rehash:
        graph = model.graph.SerializeToString(deterministic=True)
        facts["hashes"].value = json.dumps(hashes_of(graph, {key: entry.value for key, entry in facts.items()}))
    target.write_bytes(model.SerializeToString())
    return target


def test_relations_of_a_file_that_were_changed_are_refused(sealed, tmp_path):
    _, path, _ = sealed
    for edit in (lambda e: [], lambda e: e[1:], lambda e: [{**e[0], "columns": ["net", "tax", "total"]}, *e[1:]]):
        with pytest.raises(IntegrityError, match="do not match their hashes|damaged metadata"):
            load_artifact(changed(path, tmp_path / "b.onnx", edit))
    for edit in (
        lambda e: [{"kind": "magic", "columns": ["net", "tax"]}],
        lambda e: [{"kind": "line", "columns": ["outside", "inside"]}],
        lambda e: [{"kind": "sum", "columns": ["net", "nobody"]}],
        lambda e: [{**e[-2], "counts": [c[:1] for c in e[-2]["counts"]]}],
        lambda e: ["net"],
    ):
        with pytest.raises(IntegrityError, match="constraint") as refused:
            load_artifact(changed(path, tmp_path / "b.onnx", edit, rehash=True))
        assert refused.value.exit_code == 6


def test_a_sealed_file_lists_only_combinations_that_five_rows_share(tmp_path):
    rng = np.random.default_rng(0)
    shop = rng.choice(list("uvwxyz"), 400)
    frame = pd.DataFrame({"shop": shop, "till": [f"till-{s}" for s in shop], "amount": rng.normal(size=400)})
    frame.loc[:2, ["shop", "till"]] = ["u", "till-of-few"]
    frame.loc[3:10, ["shop", "till"]] = ["v", "till-of-more"]
    schema = replace(infer_schema(frame, for_generation=True), constraints=(Combination(("shop", "till")),))
    with pytest.warns(UserWarning, match="levels that fewer than five rows share"):
        seal(CVAEAugmenter(schema=schema, **QUICK).fit(frame), tmp_path / "a.onnx")
    data = (tmp_path / "a.onnx").read_bytes()
    assert b"till-of-few" not in data and b"till-of-more" in data
    public = schema.with_column("shop", public=True).with_column("till", public=True)
    ((entry,), _) = keeper_of(public, frame, None).sealed()
    assert ["u", "till-of-few"] in entry["allowed"]


def test_a_combination_of_too_many_values_is_not_sealed_and_named(sealed, monkeypatch):
    monkeypatch.setattr("serving.table.relations.combination.MOST_LISTED", 4)
    fitted, _, _ = sealed
    entries, left_out = fitted._keeper.sealed()
    assert "combination" not in {e["kind"] for e in entries} and len(entries) == len(fitted.schema_.constraints) - 2
    assert left_out["combinations of city, country"] == "it has 5 combinations, and a sealed file lists 4 at most"
    with pytest.warns(UserWarning, match="will not satisfy: 'combinations of city, country': it has 5 combinations"):
        assert _constraints(fitted)["constraints"] == entries
