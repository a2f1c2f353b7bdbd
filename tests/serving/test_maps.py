"""Scores of places: in words, as pictures, in the rows of a run, on its page of the worst images, and in streams."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from serving_data import pictures, waves

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.gallery import WORST
from serving.layout import read_manifest
from serving.places import map_column, places_in_words, png
from serving.scorer import Scorer
from serving.stream import run_stream
from serving.table.examples import Layout
from serving.verify import verify

GREY = Layout("image", (40, 20), "uint8")
WAVES = Layout("series", (3, 50), "float64")


def test_words_name_the_place_and_how_far_it_exceeds_the_limit():
    maps = np.zeros((3, 4, 2), np.float32)
    maps[0, 1, 1], maps[1], maps[2, 0, 0] = 2.5, 0.9, 3e7
    said = places_in_words(maps, np.array([True, True, True]), GREY).to_pylist()
    assert said[0] == "pixel row 15, column 15 (of 40 x 20): 2.5 times the limit"
    assert said[1] == "no place of it exceeds the limit alone" and "over a million times" in said[2]
    assert places_in_words(maps, np.array([False, True, False]), GREY).to_pylist()[::2] == [None, None]


def test_words_of_series_name_channels_and_exact_steps():
    maps = np.zeros((2, 3, 16), np.float32)
    maps[0, 2, 3], maps[0, 0, 15] = 1.5, 4.0
    (said, nothing) = places_in_words(maps, np.array([True, True]), WAVES).to_pylist()
    first, second = said.split("; ")
    assert first == "channel 0, steps 47 to 49 (of 50): 4 times the limit"
    assert second.startswith("channel 2, steps 10 to 12")
    named = places_in_words(maps, np.array([True, True]), WAVES, ["heat", "load", "flow"]).to_pylist()[0]
    assert named.startswith("heat, steps 47") and "; flow, steps 10" in named
    assert nothing == "no stretch of a channel exceeds the limit alone"


def test_a_stretch_in_words_is_the_stretch_that_was_replaced():
    """For every length: the steps named are those that belong to the place."""
    import torch

    from ganlib.explain.places import Occlusion

    for steps in range(4, 70):
        masks = Occlusion(torch.nn.Identity(), torch.zeros(1, steps)).masks[:, 0].numpy()
        for part, mask in enumerate(masks):
            places = np.zeros((1, 1, len(masks)), np.float32)
            places[0, 0, part] = 2
            (said,) = places_in_words(places, np.array([True]), Layout("series", (1, steps), "float64")).to_pylist()
            at = np.flatnonzero(mask)
            assert f"steps {at[0]} to {at[-1]} (of {steps})" in said


def test_grey_levels_are_shares_of_the_limit():
    flat = np.asarray(Image.open(io.BytesIO(png(np.full((4, 2), 1.0, np.float32), (40, 20)))))
    assert flat.shape == (40, 20) and (flat == 128).all()
    peak = np.zeros((4, 2), np.float32)
    peak[3, 0] = 50
    found = np.asarray(Image.open(io.BytesIO(png(peak, (40, 20)))))
    assert found[38, 1] == round(128 + 16 * np.log2(50)) and found[0, 19] == 0
    column = map_column(np.stack([peak, peak]), np.array([True, False]), GREY)
    assert column[1].as_py() is None and column[0].as_py() == png(peak, (40, 20))


@pytest.fixture
def spotted(tmp_path):
    """A folder of 30 usual images and 10 with a bright square, by file name."""
    images = pictures(40, 3)
    images[30:, 2:5, 3:6] = 255
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "in" / f"{number:04}.png")
    return tmp_path / "in"


def test_maps_travel_with_the_rows_and_a_page_shows_the_worst(detectors, spotted, tmp_path):
    detector, file = detectors["image"]
    out = tmp_path / "out"
    summary = score_batch(file, spotted, out, explain=True, alpha=0.5)
    table, page = open_scores(out), (out / "_gallery" / "index.html").read_text()
    flags, maps = table["is_anomaly"].to_numpy(), table["map"].to_pylist()
    assert 0 < summary.anomalies < 40 and [m is not None for m in maps] == flags.tolist()
    assert [r is not None for r in table["top_reasons"].to_pylist()] == flags.tolist()
    images = np.stack([np.asarray(Image.open(spotted / name)) for name in table["name"].to_pylist()])
    wanted = np.clip(128 + 16 * np.log2(np.maximum(detector.anomaly_map(images), 1e-30)), 0, 255)
    for row in np.flatnonzero(flags):
        got = np.asarray(Image.open(io.BytesIO(maps[row]))).astype(float)
        assert np.abs(got - wanted[row])[wanted[row] > 64].max() <= 1.5
    assert page.count("<figure>") == min(WORST, summary.anomalies)
    worst = table["name"].to_pylist()[int(table["anomaly_score"].to_numpy().argmax())]
    assert worst in page.split("</figure>")[0]
    # The page is no data of the run: it may be deleted, and comes back.
    assert verify(out)["rows"] == 40
    shutil.rmtree(out / "_gallery")
    assert verify(out)["rows"] == 40
    score_batch(file, spotted, out, explain=True, alpha=0.5)
    assert (out / "_gallery" / "index.html").read_text() == page
    # Without --explain there are neither.
    score_batch(file, spotted, tmp_path / "plain", alpha=0.5)
    assert not (tmp_path / "plain" / "_gallery").exists() and "map" not in open_scores(tmp_path / "plain").column_names


@pytest.mark.parametrize("point", ["manifest_written", "pictures_written"])
def test_a_run_killed_before_its_page_writes_it_when_run_again(detectors, spotted, tmp_path, environment, point):
    def run(env, *arguments):
        command = [sys.executable, "-m", "serving", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

    arguments = ("score", "--model", str(detectors["image"][1]), "--input", str(spotted), "--explain",
                 "--output", str(tmp_path / "out"), "--alpha", "0.5")  # fmt: skip
    died = run(environment | {"GANLIB_CRASH_AT": point}, *arguments)
    assert died.returncode == -9 and not (tmp_path / "out" / "_gallery" / "index.html").exists()
    assert (tmp_path / "out" / "_gallery").exists() == (point == "pictures_written")
    assert verify(tmp_path / "out")["rows"] == 40
    again = run(environment, *arguments)
    page = tmp_path / "out" / "_gallery" / "index.html"
    assert again.returncode == 0 and page.exists(), again.stderr
    shown = set(re.findall(r'src="([^"]+)"', page.read_text()))
    assert shown and all((page.parent / name).stat().st_size for name in shown)
    # It is pruned with the run.
    os.utime(tmp_path / "out" / "_manifest.json", (0, 0))
    pruned = run(environment, "prune", str(tmp_path / "out"), "--older-than", "1h")
    assert pruned.returncode == 0 and not (tmp_path / "out").exists(), pruned.stderr


def test_images_that_are_gone_are_said_on_the_page_not_a_failure(detectors, spotted, tmp_path):
    from serving.gallery import write_gallery
    from serving.plan import data_files

    out = tmp_path / "out"
    score_batch(detectors["image"][1], spotted, out, explain=True, alpha=0.5)
    layout = load_artifact(detectors["image"][1]).layout
    inputs = {source.name: source for source in data_files(str(spotted))}
    for file in list(spotted.iterdir()):
        file.write_bytes(b"no image any more")
    page = write_gallery(out, read_manifest(out, RuntimeError), inputs, layout).read_text()
    assert "the image cannot be shown" in page and "001-map.png" in page


def test_names_on_the_page_are_escaped(detectors, tmp_path):
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pictures(5, 3)):
        Image.fromarray(image).save(tmp_path / "in" / f"<b>{number}.png")
    score_batch(detectors["image"][1], tmp_path / "in", tmp_path / "out", explain=True, alpha=0.99)
    page = (tmp_path / "out" / "_gallery" / "index.html").read_text()
    assert "<b>&lt;b&gt;" in page and "<b><b>" not in page


def test_series_have_maps_as_lists_and_streams_words(detectors, tmp_path):
    detector, file = detectors["series"]
    data = waves(12, 5)
    np.savez(tmp_path / "x.npz", x=data)
    score_batch(file, tmp_path / "x.npz", tmp_path / "out", explain=True, alpha=0.5)
    table = open_scores(tmp_path / "out")
    flagged = np.flatnonzero(table["is_anomaly"].to_numpy())
    assert len(flagged) and not (tmp_path / "out" / "_gallery").exists()
    scores = Scorer(load_artifact(file), 0.5).score(data, explain=True)
    for row in flagged:
        assert np.allclose(table["map"][int(row)].as_py(), scores.map[row])
    records = tmp_path / "in.jsonl"
    records.write_text("".join(json.dumps({"x": series.tolist()}) + "\n" for series in data))
    assert run_stream(file, str(records), tmp_path / "out.jsonl", explain=True, alpha=0.5) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row.get("top_reasons") for row in rows] == scores.top_reasons.to_pylist()
