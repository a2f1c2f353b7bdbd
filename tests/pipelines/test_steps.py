"""Which rows train and judge, what a run logs, and what must never leave the data."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import CANARY_NUMBER, CANARY_TEXT, sensor_table

from ganlib.errors import DataError
from pipelines.errors import UsageError
from pipelines.rows import read_labels, split_for_detection
from pipelines.settings import DataSettings

ROOT = Path(__file__).resolve().parents[2]


def labels(values, normal=None):
    return read_labels(pd.DataFrame({"y": values}), "y", normal)


@pytest.mark.parametrize(
    ("values", "normal", "anomalous"),
    [
        ([0, 1, 0, 2], None, [0, 1, 0, 1]),
        ([0.0, 1.0, np.nan], None, [0, 1, 0]),
        ([True, False, False], None, [1, 0, 0]),
        (["Normal", "attack", None, ""], None, [0, 1, 0, 0]),
        (["good", "bad", "good"], None, [0, 1, 0]),
        (["good", "bad", "good"], "bad", [1, 0, 1]),
        ([3, 3, 7], "7.0", [1, 1, 0]),
        (["x", "x"], None, [0, 0]),
    ],
)
def test_the_label_marks_known_normals(values, normal, anomalous):
    found = labels(values, normal)
    assert found.anomalous.tolist() == [bool(a) for a in anomalous]
    assert found.unlabelled.tolist() == [v is None or v == "" or v != v for v in values]


def test_one_value_that_may_mark_anomalies_is_doubted():
    found = labels(["malignant"] * 3 + [None])
    assert "'malignant' only" in found.doubt and "--normal VALUE" in found.doubt and not found.anomalous.any()
    assert not any(labels(*given).doubt for given in ([[0, 0]], [["normal"]], [["x"], "x"], [["x", "y"]]))


def test_label_faults_are_named():
    with pytest.raises(DataError, match="'good', 'bad'"):
        labels(["good", "bad", "good"], "fine")
    with pytest.raises(DataError, match="holds no value"):
        labels([None, ""])
    with pytest.raises(DataError, match="did you mean 'y'"):
        read_labels(pd.DataFrame({"y": [1]}), "Y", None)


def parts_of(frame, marks, **settings):
    return split_for_detection(frame, marks, DataSettings(**settings), seed=0)


def test_known_anomalies_never_train_and_unlabelled_rows_never_judge():
    frame = pd.DataFrame({"a": np.arange(200.0)})
    y = np.array([0] * 150 + [1] * 30, dtype=object).tolist() + [None] * 20
    marks = labels(y)
    parts = parts_of(frame, marks)
    together = sorted(row for rows in parts.values() for row in rows)
    assert together == list(range(200))
    assert not marks.anomalous[parts["fit"]].any() and marks.unlabelled[parts["fit"]].sum() == 20
    assert [int(marks.anomalous[parts[p]].sum()) for p in ("validation", "test")] == [15, 15]
    assert parts == parts_of(frame, marks)


def test_copies_of_a_row_stay_on_one_side():
    frame = pd.DataFrame({"a": np.repeat(np.arange(60.0), 4)})
    parts = parts_of(frame, labels([0] * 240))
    seen = [set(frame["a"].iloc[rows]) for rows in parts.values()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_a_single_known_anomaly_helps_to_choose():
    frame = pd.DataFrame({"a": np.arange(100.0)})
    parts = parts_of(frame, labels([0] * 99 + [1]))
    assert 99 in parts["validation"]


def test_groups_and_times_are_not_torn():
    frame = pd.DataFrame({"a": np.arange(300.0), "machine": np.repeat(np.arange(30), 10), "t": np.arange(300)})
    marks = labels(([0] * 9 + [1]) * 30)
    by_group = parts_of(frame, marks, split="group", split_column="machine")
    machines = [set(frame["machine"].iloc[rows]) for rows in by_group.values()]
    assert not machines[0] & (machines[1] | machines[2]) and not marks.anomalous[by_group["fit"]].any()
    by_time = parts_of(frame, marks, split="time", split_column="t")
    assert max(by_time["fit"]) < min(by_time["validation"]) and max(by_time["validation"]) < min(by_time["test"])


def test_a_training_run_logs_what_is_needed_to_judge_it(template, registry):
    from ganlib.data.read import read_table
    from ganlib.export import fingerprint

    version = registry.version("demo", "1")
    run = registry.client().get_run(version.run_id)
    frame = read_table(template / "data.csv")
    assert run.data.params["fingerprint"] == version.tags["data_fingerprint"] == fingerprint(frame)
    assert "fault = '0' is normal" in run.data.params["rule"] and run.data.params["measure"] == "AUPRC"
    metrics = run.data.metrics
    assert {"validation/vae", "validation/PCA", "validation/IsolationForest", "test/vae/auprc"} <= set(metrics)
    assert metrics["validation/vae"] == pytest.approx(float(version.tags["quality"]), rel=1e-6)
    history = registry.client().get_metric_history(version.run_id, "vae/validation")
    assert len(history) > 1 and [point.step for point in history] == list(range(len(history)))
    files = {file.path for file in registry.client().list_artifacts(version.run_id)}
    assert {"curves.png", "schema.yaml", "choice.json", "settings.json"} <= files
    kinds = dict(line.split(": ") for line in ["alpha: 0.05", "privacy: passed", "task: detector", "model: vae"])
    assert {key: version.tags[key] for key in kinds} == kinds


def test_no_training_value_leaves_the_data(template):
    """Planted in one row each: a text and a number, looked for in every file that the run left."""
    frame = pd.read_csv(template / "data.csv")
    assert (frame["operator"] == CANARY_TEXT).sum() == 1 and (frame["flow"] == CANARY_NUMBER).sum() == 1
    numbers = [np.array([CANARY_NUMBER], kind).tobytes() for kind in ("<f8", "<f4", ">f8")]
    wanted = [CANARY_TEXT.encode(), str(CANARY_NUMBER).encode(), *numbers]
    files = [p for p in template.rglob("*") if p.is_file() and p.name != "data.csv"]
    assert len(files) > 10 and any(p.suffix == ".onnx" for p in files) and any(p.suffix == ".db" for p in files)
    assert not [(path, needle) for path in files for needle in wanted if needle in path.read_bytes()]


def test_the_privacy_check_finds_planted_values(template):
    from pipelines.privacy import check_privacy

    file = template / "demo.onnx"
    frame = pd.read_csv(template / "data.csv")
    assert check_privacy(file, frame) == "passed"
    # A table in which a value of the artifact's own categories is rare: what a leak would look like.
    leaked = frame.assign(valve=["closed"] + ["other text"] * (len(frame) - 1))
    assert "1 rare text in" in check_privacy(file, leaked)
    golden = json.loads(next(p.value for p in _props(file) if p.key == "golden"))["columns"]
    full = [i for i, v in enumerate(golden["flow"]) if isinstance(v, float) and isinstance(golden["count"][i], float)]
    row = next(i for i in full if isinstance(golden["pressure"][i], float))
    planted = frame.copy()
    planted.loc[0, ["flow", "pressure", "count"]] = [golden[c][row] for c in ("flow", "pressure", "count")]
    assert "1 training row in" in check_privacy(file, planted)


def _props(file):
    import onnx

    return onnx.load(file).metadata_props


def test_data_that_changes_under_a_job_is_noticed(tmp_path, registry):
    from pipelines.job import Job
    from pipelines.steps import prepare, settings_of, train_candidate

    data = tmp_path / "d.csv"
    sensor_table(120).to_csv(data, index=False)
    work = tmp_path / "work"
    work.mkdir()
    Job.create(work, "x", settings_of(data, label="fault"), registry)
    prepare(str(work))
    assert prepare(str(work)) == prepare(str(work))
    sensor_table(121).to_csv(data, index=False)
    with pytest.raises(DataError, match="changed while the job ran"):
        train_candidate(str(work), "vae")


def test_data_in_many_places_has_one_identity_and_is_watched(tmp_path, registry):
    """The fingerprint is that of the rows, wherever they lie; a file that is added or changed is another table."""
    import fsspec

    from pipelines.job import Job
    from pipelines.steps import settings_of

    text = sensor_table(60).to_csv(index=False)
    head, *rows = text.splitlines(keepends=True)
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "one.csv").write_text(text)
    (folder / "a.csv").write_text(head + "".join(rows[:30]))
    (folder / "b.csv.gz").write_bytes(gzip.compress((head + "".join(rows[30:])).encode()))
    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.put_file(str(path), f"/watched/{path.name}")
    places = {
        str(folder): folder / "c.csv", f"{folder}/*": folder / "d.csv", f"file://{folder}": folder / "e.csv",
        "memory://watched": None, f"{tmp_path}/one.csv": tmp_path / "one.csv",
    }  # fmt: skip
    marks = set()
    jobs = []
    for at, location in enumerate(places):
        work = tmp_path / f"work{at}"
        work.mkdir()
        jobs.append(Job.create(work, "x", settings_of(location, label="fault"), registry))
        marks.add(jobs[-1].read().fingerprint)
    assert len(marks) == 1
    (mark,) = marks
    for job, written in zip(jobs, places.values(), strict=True):
        if written is None:
            store.pipe("/watched/c.csv", (head + rows[0]).encode())
        else:
            written.write_text(head + rows[0])
        with pytest.raises(DataError, match="changed while the job ran"):
            job.read(mark)
        if written is not None and written.parent == folder:
            written.unlink()
    assert [job.data for job in jobs] == ["data", "*", "data", "watched", "one.csv"]
    store.rm("/watched", recursive=True)


def test_a_job_keeps_its_day(tmp_path):
    from pipelines.describing import describe_data
    from pipelines.settings import load_settings, with_date

    sensor_table(60).to_csv(tmp_path / "2026-01-02.csv", index=False)
    given = {"data.path": f"{tmp_path}/{{date}}.csv", "augment.output": "{date}/more.csv", "data.date": "2026-01-02"}
    settings = load_settings(None, given)
    placed = with_date(settings)
    assert placed.data.path == f"{tmp_path}/2026-01-02.csv" and placed.augment.output == "2026-01-02/more.csv"
    assert describe_data(settings).rows == 60


def test_flows_take_a_day_or_that_of_their_start(tmp_path, run_python):
    done = run_python(
        "from pipelines.flows import score_batch, train_augmenter as a, train_detector as d\n"
        "from pipelines.flows.tasks import with_day\n"
        "from pipelines.settings import load_settings, with_date\n"
        "flows = (score_batch.score_batch, a.augment, a.train_augmenter, d.train_detector)\n"
        "assert all('date' in flow.parameters.properties for flow in flows)\n"
        "given = load_settings(None, {'data.path': '{date}', 'data.date': '2026-01-02'})\n"
        "assert with_date(with_day(given, 'data')).data.path == '2026-01-02'\n"
        "today = with_day(load_settings(None, {'data.path': '{date}'}), 'data')\n"
        "assert with_date(today).data.path == today.data.date and len(today.data.date) == 10\n",
        tmp_path, PREFECT_HOME=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_weekly_deployment_is_trained_for_an_alpha_that_the_gates_let_pass():
    import yaml

    from pipelines.steps import settings_of

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    given = next(d["parameters"] for d in deployments if d["name"] == "weekly")
    settings = settings_of(given["data"], label=given["label"], overrides=given["overrides"])
    assert settings.calibration.alpha == 0.05


def test_faults_before_anything_is_written(tmp_path, registry):
    from ganlib.errors import ConfigError
    from pipelines.steps import settings_of, train_detector

    data = tmp_path / "d.csv"
    sensor_table(60).to_csv(data, index=False)
    before = registry.names()
    for error, arguments in [
        (UsageError, {"name": "bad/name"}),
        (ConfigError, {"model": "vaee"}),
        (DataError, {"label": "faults"}),
        (DataError, {"normal": "9"}),
        (ConfigError, {"data": tmp_path / "absent.csv"}),
    ]:
        given = {"data": data, "name": "new", "label": "fault", "model": "vae"} | arguments
        with pytest.raises(error):
            name = given.pop("name")
            train_detector(registry, settings_of(**given), name)
    assert registry.names() == before
