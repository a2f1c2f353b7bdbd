"""Windows relative to the level of each key: batch, stream and a plain loop agree, and new keys are counted."""

import json

import numpy as np
import pandas as pd
import pytest
from serving_data import LEVELS, WINDOWS, readings, with_levels

from serving import feeding, plan
from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, IntegrityError
from serving.levels import Levels
from serving.scorer import Scorer
from serving.stream import run_stream
from serving.verify import verify
from serving.windows import Windows


@pytest.fixture(scope="module")
def levelled(windowed, tmp_path_factory):
    """A model of windows with levels of two machines."""
    path = tmp_path_factory.mktemp("levelled") / "m.onnx"
    path.write_bytes(with_levels(windowed[1], LEVELS))
    return path


def by_hand(path, frame, levels):
    """{(machine, time): score} by a plain loop over rows in order."""
    held, windows = {}, {}
    for row in frame.sort_values("at", kind="stable").itertuples():
        known = row.machine in levels["keys"]
        place = levels["keys"].index(row.machine) if known else 0
        centre, scale = (levels[n][place] if known else levels[n[:-1]] for n in ("centres", "scales"))
        values = [(row.heat - centre[0]) / scale[0], (row.load - centre[1]) / scale[1]]
        held[row.machine] = [*held.get(row.machine, []), values][-8:]
        if len(held[row.machine]) == 8:
            windows[row.machine, row.at] = np.array(held[row.machine]).T
    scorer = Scorer(load_artifact(path))
    return dict(zip(windows, scorer.score({"x": np.stack(list(windows.values()))}).anomaly_score, strict=True))


def batch_scores(folder):
    frame = open_scores(folder).to_pandas()
    times = pd.to_datetime(frame["at"], utc=True)
    return dict(zip(zip(frame["machine"], times, strict=True), frame["anomaly_score"], strict=True))


def close(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(abs(found[key] - wanted[key]) <= 1e-5 * (1 + abs(wanted[key])) for key in wanted)


def streamed(source, model, tmp_path, name="o.jsonl"):
    assert run_stream(model, str(source), tmp_path / name, max_rows=7, as_json=True) == 0
    rows = [json.loads(line) for line in (tmp_path / name).open()]
    return {(row["record"]["machine"], pd.Timestamp(row["record"]["at"])): row["anomaly_score"] for row in rows}


def lines(frame, path):
    records = [{**row, "at": row["at"].isoformat()} for row in frame.to_dict("records")]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_batch_stream_and_a_plain_loop_agree(levelled, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "ROWS_PER_UNIT", 40)
    monkeypatch.setattr(feeding, "_VALUES", 16 * 17)
    frame = readings(3, 40)
    source = lines(frame, tmp_path / "in.jsonl")
    wanted = by_hand(levelled, frame, LEVELS)
    summary = score_batch(levelled, source, tmp_path / "out")
    close(batch_scores(tmp_path / "out"), wanted)
    capsys.readouterr()
    close(streamed(source, levelled, tmp_path), wanted)
    out, err = capsys.readouterr()
    # The third machine has no level: counted and said in both.
    unseen = {"rows": 33, "first": "m2"}
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["unseen"] == unseen == json.loads(out)["unseen"]
    assert any("33 scored rows are of keys that training has not seen, first 'm2'" in d for d in summary.doubts)
    assert "33 scored rows are of keys" in err and "from here on" in err
    assert verify(tmp_path / "out")["rows"] == len(wanted) == 99


def test_without_new_keys_nothing_is_said(levelled, tmp_path, capsys):
    source = lines(readings(2, 12), tmp_path / "in.jsonl")
    summary = score_batch(levelled, source, tmp_path / "out")
    streamed(source, levelled, tmp_path)
    out, err = capsys.readouterr()
    assert "unseen" not in json.loads((tmp_path / "out" / "_manifest.json").read_text()) and "unseen" not in out
    assert "not seen" not in err and not any("not seen" in doubt for doubt in summary.doubts)


def test_verify_counts_rows_of_new_keys(levelled, tmp_path):
    from serving.files import read_checked, write_checked

    score_batch(levelled, lines(readings(3, 12), tmp_path / "in.jsonl"), tmp_path / "out")
    path = tmp_path / "out" / "_manifest.json"
    manifest = {k: v for k, v in read_checked(path, IntegrityError).items() if k != "checksum"}
    write_checked(path, manifest | {"unseen": {"rows": 1, "first": "m2"}})
    with pytest.raises(IntegrityError, match="unseen"):
        verify(tmp_path / "out")


def test_a_shift_of_a_machine_and_of_its_level_changes_nothing(windowed, levelled, tmp_path):
    frame = readings(2, 30)
    score_batch(levelled, lines(frame, tmp_path / "in.jsonl"), tmp_path / "out")
    shifted = {**LEVELS, "centres": [[300.0, 0.0], [295.0 + 1000, 0.5 - 70]]}
    (tmp_path / "shifted.onnx").write_bytes(with_levels(windowed[1], shifted))
    moved = frame.assign(
        heat=frame["heat"] + 1000 * (frame["machine"] == "m1"), load=frame["load"] - 70 * (frame["machine"] == "m1")
    )
    score_batch(tmp_path / "shifted.onnx", lines(moved, tmp_path / "moved.jsonl"), tmp_path / "again")
    close(batch_scores(tmp_path / "again"), batch_scores(tmp_path / "out"))


def test_a_stream_goes_on_over_a_model_of_other_levels(windowed, levelled, tmp_path):
    """Rows are remembered as they came, so that a model of other levels reads them by its own."""
    other = {**LEVELS, "centres": [[290.0, 1.0], [305.0, -0.5]]}
    (tmp_path / "other.onnx").write_bytes(with_levels(windowed[1], other))
    frame = readings(2, 20)
    first, source = frame[frame["at"] < frame["at"].min() + pd.Timedelta(minutes=10)], tmp_path / "in.jsonl"
    lines(first, source)
    before = streamed(source, levelled, tmp_path)
    lines(frame, source)
    after = streamed(source, tmp_path / "other.onnx", tmp_path)
    wanted = by_hand(levelled, frame, other)
    close(
        {key: score for key, score in after.items() if key not in before},
        {k: v for k, v in wanted.items() if k not in before},
    )


# ---------------------------------------------------------------- finished windows
def test_finished_windows_need_a_known_key(levelled):
    scorer, rng = Scorer(load_artifact(levelled)), np.random.default_rng(0)
    windows = rng.normal([[300.0], [0.0]], [[5.0], [0.5]], (4, 2, 8))
    levels = Levels.model_validate(LEVELS)
    found = scorer.score([{"x": w, "machine": key} for w, key in zip(windows, ["m0", "m1"] * 2, strict=True)])
    wanted = scorer.score({"x": levels.relative(["m0", "m1"] * 2, windows)})
    assert np.array_equal(found.anomaly_score, wanted.anomaly_score)
    for given in (windows, [{"x": window} for window in windows], [{"x": windows[0], "machine": 3}]):
        with pytest.raises(DataError, match=r"relative to the level of each 'machine'.*its key, as text, in 'machine'"):
            scorer.score(given)
    with pytest.raises(DataError, match="no 'machine' 'm9', so its level is not known"):
        scorer.score([{"x": windows[0], "machine": "m9"}])


def test_levels_are_undone(rng=np.random.default_rng(1)):
    levels, values = Levels.model_validate(LEVELS), rng.normal(0, 100, (6, 2, 8))
    keys = ["m0", "m1", "m2"] * 2
    assert np.allclose(levels.absolute(keys, levels.relative(keys, values)), values)
    rows = levels.relative(keys, values[:, :, 3])
    assert np.array_equal(rows, levels.relative(keys, values)[:, :, 3])
    assert levels.unseen(keys).tolist() == [False, False, True] * 2


# ---------------------------------------------------------------- the sealed file
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keys": ["m0", "m0"]}, "twice"), ({"keys": ["m0"]}, "one row for each key"),
        ({"centre": [1.0]}, "one number for each channel|differ"),
        ({"scales": [[2.0, 0.5], [4.0, 0.0]]}, "greater than 0"),
        ({"scale": [3.0]}, "differ"),
    ],
)  # fmt: skip
def test_levels_that_do_not_fit_are_rejected(windowed, change, words):
    with pytest.raises(IntegrityError, match=words):
        load_artifact(with_levels(windowed[1], {**LEVELS, **change}))


def test_levels_need_a_version_that_releases_before_reject(windowed):
    with pytest.raises(IntegrityError, match="levels of keys are of version 5"):
        load_artifact(with_levels(windowed[1], LEVELS, format_version="4"))


def test_levels_need_a_key_and_are_bounded(monkeypatch):
    from serving import windows

    with pytest.raises(ValueError, match="need a key"):
        Windows.model_validate({**WINDOWS, "key": None, "levels": LEVELS})
    monkeypatch.setattr(windows, "MOST_LEVELS", 1)
    with pytest.raises(ValueError, match="levels of 2 keys, more than 1"):
        Windows.model_validate({**WINDOWS, "levels": LEVELS})
