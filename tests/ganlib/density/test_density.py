"""Density estimators: densities in the units of the data, bits per dimension, bad input, sealed files."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal

import ganlib
from ganlib import as_density
from ganlib.density import Density
from ganlib.errors import ConfigError, DataError
from serving.artifact import load_artifact
from serving.density import Density as SealedDensity
from serving.errors import DataError as ServedDataError
from serving.errors import IntegrityError, UsageError

torch.set_num_threads(1)
RNG = np.random.default_rng(0)
LENGTH = 5 + 3 * RNG.standard_normal(400)
TABLE = pd.DataFrame({"length": LENGTH, "weight": 40 * LENGTH + 100 * RNG.standard_normal(400)})
BYTES = RNG.integers(0, 256, (300, 4, 4), dtype=np.uint8)
SERIES = 100 + 3 * RNG.standard_normal((300, 2, 6))
SHORT = {"steps": 40, "batch_size": 64, "validation_fraction": 0.0}
# One step on all rows, not averaged over steps: the moments are those of the data.
WHOLE = {"steps": 1, "batch_size": 400, "validation_fraction": 0.0, "trainer": {"ema": 0.0}}


def closed(values, floor=0.0):
    return multivariate_normal(values.mean(0), np.cov(values.T, bias=True) + floor)


@pytest.fixture(scope="module")
def gaussian():
    return as_density("gaussian", floor=1e-9, **WHOLE).fit(TABLE)


def test_the_density_of_a_table_is_in_the_units_of_its_columns(gaussian):
    wanted = closed(TABLE.to_numpy()).logpdf(TABLE)
    assert np.allclose(gaussian.log_prob(TABLE), wanted, atol=1e-3)
    assert gaussian.score(TABLE) == pytest.approx(wanted.mean(), abs=1e-3)
    assert gaussian.bits_per_dim(TABLE) == pytest.approx(-wanted.mean() / (2 * math.log(2)), abs=1e-3)
    metres = as_density("gaussian", floor=1e-9, **WHOLE).fit(TABLE / 1000)
    assert np.allclose(metres.log_prob(TABLE / 1000), wanted + 2 * math.log(1000), atol=1e-3)


def test_log_prob_of_a_batch_does_not_depend_on_the_batch_or_the_order_of_columns(gaussian):
    whole = gaussian.log_prob(TABLE)
    assert np.allclose([gaussian.log_prob(TABLE[i : i + 1])[0] for i in range(5)], whole[:5], atol=1e-5)
    assert np.array_equal(gaussian.log_prob(TABLE[["weight", "length"]]), whole)


@pytest.mark.parametrize("name", ["gaussian_mixture", "spline_flow", "kernel_density"])
def test_a_density_of_two_columns_integrates_to_one(name):
    density = as_density(name, **SHORT).fit(TABLE)
    sides = np.linspace(-20, 30, 140), np.linspace(-1000, 1500, 140)
    places = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    cell = math.prod(side[1] - side[0] for side in sides)
    assert np.exp(density.log_prob(pd.DataFrame(places, columns=TABLE.columns))).sum() * cell == pytest.approx(
        1, abs=0.01
    )


def test_a_density_of_one_column_integrates_to_one_beyond_ten_deviations():
    column = np.concatenate([RNG.standard_normal(2000), [3000.0, 3010.0]])[:, None]
    density = as_density("gaussian_mixture", components=2, **{**SHORT, "batch_size": 2002}).fit(column)
    assert density.units_.log_volume(np.array([[3000.0]])) < density.units_.log_volume(np.array([[0.0]])) - 0.5
    places = np.sinh(np.linspace(-16, 16, 400_001))  # dense at 0, and out to 4e6
    logs = density.log_prob(places[:, None])
    assert np.trapezoid(np.exp(logs), places) == pytest.approx(1, abs=0.01)


def test_ties_of_whole_numbers_and_rounded_columns_do_not_raise_the_density_without_bound():
    ages = RNG.integers(20, 24, 500).astype(float)
    table = pd.DataFrame({"age": ages.astype(int), "price": np.round(RNG.random(500), 2), "size": RNG.random(500)})
    density = as_density("kernel_density", floor=1e-3, **SHORT).fit(table)
    assert density.units_.steps.tolist() == [1.0, 0.01, 0.0]
    # At most 1 per year and about 1 per unit of the others, up to the estimate's error.
    assert np.quantile(density.log_prob(table), 0.9) < 1.5


def test_a_tied_column_off_a_grid_is_named():
    table = TABLE.assign(rain=np.where(RNG.random(400) < 0.4, 0.0, RNG.random(400)))
    with pytest.warns(UserWarning, match=r"'rain' is 0 in (3|4).% of the rows"):
        as_density("gaussian", **SHORT).fit(table)


def test_bits_per_dimension_of_bytes_are_those_of_a_density_per_level():
    density = as_density("gaussian", **WHOLE).fit(BYTES)
    # Uniform bytes take 8 bits; a Gaussian of their variance takes KL(uniform || Gaussian) more.
    wanted = (0.5 * math.log(2 * math.pi * math.e * 256**2 / 12)) / math.log(2)
    assert density.bits_per_dim(BYTES) == pytest.approx(wanted, abs=0.12)
    floats = as_density("gaussian", **WHOLE).fit(BYTES / 255)
    gap = density.log_prob(BYTES) - floats.log_prob(BYTES / 255)
    assert np.allclose(gap, -16 * math.log(255), atol=0.3)
    made = density.sample(5)
    assert made.shape == (5, 4, 4) and made.dtype == np.uint8


def test_densities_of_series_are_in_their_units():
    density = as_density("gaussian", **WHOLE).fit(SERIES)
    flat = SERIES.reshape(300, 12)
    assert np.allclose(density.log_prob(SERIES), closed(flat, 1e-4 * 9).logpdf(flat), atol=0.01)
    assert abs(density.sample(200).mean() - 100) < 1


def test_samples_have_the_format_of_the_training_data(gaussian):
    made = gaussian.sample(500, random_state=1)
    assert list(made.columns) == ["length", "weight"] and gaussian.sample(500, random_state=1).equals(made)
    assert made.corr().iloc[0, 1] == pytest.approx(TABLE.corr().iloc[0, 1], abs=0.1)
    assert isinstance(as_density("gaussian", **SHORT).fit(TABLE.to_numpy()).sample(3), np.ndarray)
    with pytest.raises(ConfigError, match="no sampler; choose gaussian_mixture"):
        as_density("kernel_density", **SHORT).fit(TABLE).sample(3)


BAD = {
    "constant": (TABLE.assign(one=1.5), "'one' holds a single value, 1.5, and has no density: leave it out"),
    "category": (TABLE.assign(kind=list("ab") * 200), "'kind' is of kind category, which has probabilities"),
    "missing": (TABLE.assign(length=TABLE.length.where(TABLE.index != 7)), "'length', row .*fill the missing"),
    "wide": (pd.DataFrame(RNG.standard_normal((20, 20))).add_prefix("c"), "20 rows to train on, of 20 values each"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_rejected_with_the_fix(name):
    data, words = BAD[name]
    with pytest.raises(DataError, match=words):
        as_density("glow", **SHORT).fit(data)


def test_models_without_a_density_are_rejected_with_the_fix():
    with pytest.raises(ConfigError, match=r"'denoising_score' has no density; `ganlib models --task density`"):
        as_density("denoising_score")
    with pytest.raises(ConfigError, match="sum over 2\\^hidden_units states; set hidden_units to at most 15"):
        as_density("rbm")
    with pytest.raises(ConfigError, match="set hidden\\[0\\] to at most 15"):
        as_density("dbm")
    for name, few in (("rbm", {"hidden_units": 4}), ("dbm", {"hidden": (4, 4)})):
        with pytest.raises(ConfigError, match="has no density of images"):
            as_density(name, **few, **SHORT).fit(BYTES, "image")
    assert as_density("rbm", hidden_units=4, **SHORT).fit(TABLE).score(TABLE) < 0
    with pytest.raises(ConfigError, match="at least 2 values"):
        as_density("glow", **SHORT).fit(TABLE[["length"]])


def test_it_is_offered_beside_the_others():
    assert isinstance(ganlib.Density(), Density) and "spline_flow" in ganlib.list_models(task="density")
    assert as_density("gaussian_mixture", components=3, steps=7).get_params()["options"] == {"components": 3}


# ---------------------------------------------------------------- sealed
@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("densities"), {}
    given = {
        "table": TABLE.assign(count=RNG.integers(0, 50, 400)),
        "bytes": BYTES,
        "floats": (BYTES / 255).astype(np.float32),
        "series": SERIES,
    }

    def by_name(name):
        if name not in made:
            modality = {"table": None, "series": "series"}.get(name, "image")
            density = as_density("gaussian", modality=modality, **SHORT).fit(given[name])
            report = ganlib.seal(density, folder / f"{name}.onnx")
            made[name] = density, given[name], load_artifact(folder / f"{name}.onnx", sha256=report.sha256)
        return made[name]

    return by_name


@pytest.mark.parametrize(
    "name", ["table", "bytes", *(pytest.param(n, marks=pytest.mark.slow) for n in ("floats", "series"))]
)
def test_a_sealed_density_is_that_of_the_estimator(sealed, name):
    density, data, artifact = sealed(name)
    served = SealedDensity(artifact)
    assert artifact.kind == "density"
    assert np.allclose(served.log_prob(data), density.log_prob(data), rtol=1e-4, atol=1e-4)
    assert served.score(data) == pytest.approx(density.score(data), abs=1e-3)
    assert len(served.log_prob(data[:0])) == 0


def test_a_sealed_density_has_none_of_missing_values(sealed):
    _, data, artifact = sealed("table")
    broken = data.assign(weight=data.weight.where(data.index != 3))
    with pytest.raises(ServedDataError, match="'weight', row 3: is missing or infinite and has no density"):
        SealedDensity(artifact).log_prob(broken)
    feeds = SealedDensity(artifact).reader.feeds(broken)
    (raw,) = artifact.run(["log_prob"], feeds)
    assert np.flatnonzero(np.isnan(raw)).tolist() == [3]


def test_changed_golden_rows_are_rejected(sealed):
    for name in ("table", "bytes"):
        artifact = sealed(name)[2]
        golden = artifact.checked.golden
        wrong = golden.model_copy(update={"log_prob": [value + 1 for value in golden.log_prob]})
        with pytest.raises(IntegrityError, match="golden rows disagree"):
            artifact.checked.model_copy(update={"golden": wrong}).self_test(artifact.session)


def test_another_kind_is_no_density(sealed):
    with pytest.raises(UsageError, match="a loaded artifact is needed"):
        SealedDensity("model.onnx")
