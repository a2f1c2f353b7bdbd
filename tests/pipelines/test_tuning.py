"""`ganlib train --tune`: trials by known anomalies, resumed, ended early, and judged by rows that did not choose."""

import json
import signal

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused, sensor_table

from pipelines.errors import TryAgain, UsageError
from pipelines.rows import read_labels, spare_for_tuning, split_for_detection
from pipelines.search_space import Dimension
from pipelines.sections import DataSettings
from pipelines.tuning import Best, tuned

GIVEN = ("--data", "known.csv", "--label", "fault", "--alpha", 0.2, "--steps", 20, "--model", "vae")
SPACE = (Dimension("rate", 1.0, 0.25, 4.0), Dimension("layers", 2, 1, 8, whole=True),
         Dimension("hidden", 1.0, 0.25, 4.0, widths=(8, 4)))  # fmt: skip


def higher_rates(options, report):
    return options.get("rate", 1.0)


class Judged:
    """Trials with figures by a function of the options."""

    def __init__(self, judge, space=SPACE):
        self.judge, self.space = judge, space

    def begin(self, report):
        return self.judge({}, report), self.space


def searched(file, wanted, judge=higher_rates, space=SPACE):
    pytest.importorskip("optuna")
    said = []
    return tuned(file, wanted, 0, Judged(judge, space), said.append), said


@pytest.fixture
def data(home):
    odd = sensor_table(80, seed=1).assign(fault=1, pressure=lambda frame: frame["pressure"].to_numpy()[::-1])
    pd.concat([sensor_table(240), odd]).to_csv("known.csv", index=False)
    sensor_table(120).to_csv("few.csv", index=False)


# ------------------------------------------------------------------------------------------------ trials
def test_the_best_trial_wins_and_the_defaults_are_judged_first(tmp_path):
    judged = []

    def judge(options, report):
        judged.append(dict(options))
        return higher_rates(options, report)

    best, said = searched(tmp_path / "s" / "a.db", 8, judge)
    assert judged[0] == {} and len(judged) == 9 and best.trials == 8 and best.default == 1.0
    assert best.value == max(options.get("rate", 1.0) for options in judged) and best.value > 1.0
    assert best.options in judged and isinstance(best.options["hidden"], tuple)
    assert said[0] == "default options: 1.0000" and said[-1].startswith("trial 8 of 8: ")


@pytest.mark.parametrize("figure", [0.5, 0.4])
def test_no_options_are_found_where_no_trial_is_better_than_the_defaults(tmp_path, figure):
    best, _ = searched(tmp_path / "a.db", 5, lambda options, report: figure if options else 0.5)
    assert best == Best({}, 0.5, 0.5, 5, 0)


KILLED = """
import os, signal
from pathlib import Path
from pipelines.search_space import Dimension
from pipelines.tuning import tuned

class Killed:
    calls = 0

    def begin(self, report):
        return self.judge({{}}, report), (
            Dimension("rate", 1.0, 0.25, 4.0), Dimension("layers", 2, 1, 8, whole=True),
            Dimension("hidden", 1.0, 0.25, 4.0, widths=(8, 4)))

    def judge(self, options, report):
        self.calls += 1
        if self.calls == {last}:
            os.kill(os.getpid(), signal.SIGKILL)
        return options.get("rate", 1.0)

tuned(Path("killed.db"), 14, 0, Killed(), print)
"""


def test_a_killed_run_goes_on_and_samples_what_an_uninterrupted_one_does(tmp_path, run_python):
    optuna = pytest.importorskip("optuna")

    for last in (1, 4, 9):  # while judging the defaults, and in the middle of trials
        done = run_python(KILLED.format(last=last), tmp_path)
        assert done.returncode == -signal.SIGKILL, done.stderr
    best, said = searched(tmp_path / "killed.db", 14)
    assert any("holds 10 finished trials" in line for line in said), said
    whole, _ = searched(tmp_path / "whole.db", 14)
    assert best == whole

    def trials(name):
        study = optuna.load_study(study_name="options", storage=f"sqlite:///{tmp_path / name}")
        return [(t.params, t.value) for t in study.trials if t.state.name == "COMPLETE"], len(study.trials)

    killed, together = trials("killed.db")
    assert killed == trials("whole.db")[0] and len(killed) == 15 and together == 17  # two were repeated


def test_more_trials_are_added_to_those_that_are_there(tmp_path):
    first, _ = searched(tmp_path / "a.db", 2)
    calls = []

    def judge(options, report):
        calls.append(options)
        return higher_rates(options, report)

    again, said = searched(tmp_path / "a.db", 2, judge)
    assert again == first and not calls and "holds 2 finished trials" in said[0]
    more, _ = searched(tmp_path / "a.db", 5, judge)
    assert more.trials == 5 and len(calls) == 3


def test_a_trial_that_is_worse_than_the_median_ends_early_and_cannot_win(tmp_path):
    trained = []

    def judge(options, report):
        if len(trained) >= 7:
            for part in range(1, 10):
                report(part, 0.1)
            raise AssertionError("not ended early")
        for part in range(1, 10):
            report(part, 0.5)
        trained.append(options)
        return 0.6

    best, said = searched(tmp_path / "a.db", 8, judge)
    assert best.ended_early == 2 and len(trained) == 7
    assert "trial 8 of 8 ended early: 0.1000 after 2 tenths, which is below the median" in said[-1]


def test_options_that_do_not_fit_or_diverge_are_counted_and_others_are_raised(tmp_path):
    from ganlib.errors import DataError, DivergenceError

    def judge(options, report):
        if options:
            raise DivergenceError("a loss exploded")
        return 0.5

    best, said = searched(tmp_path / "a.db", 3, judge)
    assert best == Best({}, 0.5, 0.5, 3, 3) and "ended early: a loss exploded" in said[-1]

    def broken(options, report):
        raise DataError("the data")

    with pytest.raises(DataError, match="the data"):
        searched(tmp_path / "b.db", 3, broken)


def test_a_figure_that_is_no_number_never_wins_and_a_full_disk_keeps_what_is_finished(tmp_path):
    optuna = pytest.importorskip("optuna")

    best, said = searched(tmp_path / "a.db", 2, lambda options, report: float("nan") if options else 0.5)
    assert best == Best({}, 0.5, 0.5, 2, 2) and "the figure is nan" in said[-1]

    def full(options, report):
        raise optuna.exceptions.StorageInternalError("x") from OSError("database or disk is full")

    with pytest.raises(TryAgain, match="disk is full.*finished trials are kept"):
        searched(tmp_path / "a.db", 3, full)
    assert searched(tmp_path / "a.db", 3)[0].trials == 3


def test_one_run_uses_a_file_at_a_time_and_other_files_are_rejected(tmp_path):
    from filelock import FileLock

    with FileLock(f"{tmp_path / 'a.db'}.lock"), pytest.raises(TryAgain, match="another run tunes with"):
        searched(tmp_path / "a.db", 3)
    (tmp_path / "b.db").write_bytes(b"no database" * 100)
    with pytest.raises(UsageError, match="b.db holds no trials that can be read .* remove it"):
        searched(tmp_path / "b.db", 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another model.studies"):
        searched(tmp_path / "file" / "c.db", 3)
    with pytest.raises(UsageError, match="no option that could be tuned"):
        searched(tmp_path / "d.db", 3, space=())


# ------------------------------------------------------------------------------------------------ rows
def test_rows_that_choose_do_not_judge():
    frame = sensor_table(240).assign(fault=(np.arange(240) % 4 == 0).astype(int))
    marks, features = read_labels(frame, "fault", None), frame.drop(columns="fault")
    parts = split_for_detection(features, marks, DataSettings(label="fault"), seed=0)
    spared = spare_for_tuning(parts, features, marks.anomalous, 0)
    assert sorted([*spared["validation"], *spared["tuning"]]) == sorted(parts["validation"])
    for part in ("validation", "tuning"):
        assert min(marks.anomalous[spared[part]].sum(), (~marks.anomalous[spared[part]]).sum()) >= 6
    assert {part: spared[part] for part in ("fit", "test")} == {part: parts[part] for part in ("fit", "test")}
    known = [row for row in parts["validation"] if marks.anomalous[row]]
    for rows, words in ((known, "normal rows in the validation rows, and they hold 0"),
                        (known[:11], "12 different known anomalies .* they hold 11")):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            spare_for_tuning({**parts, "validation": rows}, features, marks.anomalous, 0)


# ------------------------------------------------------------------------------------------------ the command
@pytest.mark.parametrize(
    ("options", "job", "words"),
    [
        (("--model", "auto"), "", ("--tune is for one model", "name one by --model")),
        (("--model", "cvae_gan"), "", ("--tune is for detectors", "leave it out")),
        (("--tune", 0), "", ("model.tune", "greater than or equal to 1")),
        (("--tune", "many"), "", ("--tune",)),
        ((), "training: {checkpoint: run.pt}\n", ("training.checkpoint", "--tune")),
    ],
)
def test_what_cannot_be_tuned_is_rejected_before_any_work(ganlib, home, data, options, job, words):
    (home / "job.yaml").write_text(job)
    given = ("train", "--name", "x", *GIVEN, "--tune", 3, *options, *(("--config", "job.yaml") if job else ()))
    code, out, err = ganlib(*given)
    assert code == 2 and "Traceback" not in err and not (home / "runs").exists()
    assert all(word in err for word in words), err


def test_without_optuna_the_extra_is_named(ganlib, home, data, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "optuna" else found(name, *more)
    )
    refused(ganlib("train", "--name", "x", *GIVEN, "--tune", 3), 2, "needs optuna", "ganlib[tune]")


@pytest.mark.parametrize("given", [("--data", "few.csv"), ("--data", "known.csv", "--label", "valve")])
def test_few_or_no_known_anomalies_reject_tuning_with_the_number_needed(ganlib, home, data, given):
    pytest.importorskip("optuna")
    known = [*GIVEN, *given] if "few.csv" in given else ["--data", "known.csv", "--model", "vae"]
    line = refused(ganlib("train", "--name", "x", *known, "--tune", 3), 2, "about 12 different known anomalies")
    assert ("they hold 10" if "few.csv" in given else "they hold 0") in line and "Leave --tune out" in line
    code, _, err = ganlib("train", "--name", "x", *known, "--tune", 3, "--dry-run")
    assert code == 2 and "known anomalies" in err and not (home / "runs").exists()


@pytest.mark.trained
def test_tuned_options_are_used_if_better_and_figures_of_both_are_on_the_card(ganlib, home, registry, data):
    pytest.importorskip("optuna")
    code, out, err = ganlib("train", "--name", "pump", *GIVEN, "--tune", 2, "--json")
    done = json.loads(out)
    assert code == 0 and "default options: 0." in err and "trial 2 of 2: 0." in err, err
    said = done["extra"]["tuning"]
    assert "2 trials (0 ended early), judged by" in said and said in err
    better = "vae-tuned" in done["validation"]
    assert ("found no better ones" in said) != better
    if better:
        won = done["validation"]["vae-tuned"] > done["validation"]["vae"]
        assert done["model"] == ("vae-tuned" if won else "vae") and said.startswith("tuned" if won else "default")
        assert "on test rows, which choose nothing" in said
    assert said in registry.version("pump", "1").card
    assert len(list((home / "runs/tuning").glob("pump-vae-*.db"))) == 1


@pytest.mark.parametrize(("tuned_figure", "kept"), [(0.9, "vae-tuned"), (0.5, "vae")])
def test_the_defaults_stay_unless_tuned_options_are_better_on_other_rows(
    ganlib, registry, data, monkeypatch, tuned_figure, kept
):
    pytest.importorskip("optuna")
    figures = iter([0.5, tuned_figure])
    space = (Dimension("beta", 1.0, 0.25, 4.0),)
    trials = Judged(lambda options, report: 0.9 if options else 0.1, space)
    monkeypatch.setattr("pipelines.trials.DetectorTrials", lambda *args: trials)
    monkeypatch.setattr("pipelines.steps.detector.measured", lambda *args: next(figures))
    code, out, err = ganlib("train", "--name", "pump", *GIVEN, "--tune", 1, "--json")
    done = json.loads(out)
    assert code == 0 and done["model"] == kept, err
    assert done["validation"] | {"PCA": 0, "IsolationForest": 0} == {
        "vae": 0.5, "vae-tuned": tuned_figure, "PCA": 0, "IsolationForest": 0,
    }  # fmt: skip
    version = registry.version("pump", "1")
    verdict = "tuned options: " if kept == "vae-tuned" else "default options, since tuned ones were not better: "
    assert version.tags["tuning"].startswith(verdict) and version.tags["tuning"] in version.card
    assert f"on other validation rows {tuned_figure:.3f} and 0.500" in version.card
    assert float(version.tags["quality"]) == max(0.5, tuned_figure)


def test_other_data_or_settings_begin_another_study_and_say_so(home, data, registry, capsys, monkeypatch):
    pytest.importorskip("optuna")
    from ganlib.data.schema import Schema
    from pipelines.job import Job
    from pipelines.steps import prepare, settings_of, tune
    from pipelines.trials import DetectorTrials

    asked = []
    monkeypatch.setattr(DetectorTrials, "judge", lambda trials, options, report: asked.append(options) or 0.5)

    def run(folder, **changes):
        (home / folder).mkdir()
        options = {"training.epochs": 1, "model.tune": 1} | {key.replace("__", "."): v for key, v in changes.items()}
        settings = settings_of(changes.get("data__path", "known.csv"), label="fault", model="vae", overrides=options)
        prepare(str(Job.create(home / folder, "pump", settings, registry).folder))
        asked.clear()
        return tune(str(home / folder)).study, capsys.readouterr().err

    first, _ = run("a")
    assert first.startswith("runs/tuning/pump-vae-") and list(asked[0]) == [
        "latent_dim", "hidden", "beta", "learning_rate", "variance_pace",
    ]  # fmt: skip
    same, err = run("b", registry__retries=2, model__tune=2)
    assert same == first and "holds 1 finished trial" in err and len(asked) == 1
    other, err = run("c", training__random_state=1)
    assert other != first and f"{first} holds trials on other data or settings, which do not count" in err
    stated, _ = run("d", training__learning_rate=0.01, model__options={"beta": 2.0})
    assert list(asked[0]) == ["latent_dim", "hidden", "variance_pace"] and stated not in (first, other)
    Schema.load(home / "a/schema.yaml").with_column("flow", maximum=99.0).save(home / "schema.yaml")
    described, _ = run("f", data__schema_file="schema.yaml")
    assert described not in (first, other, stated)
    frame = pd.read_csv("known.csv")
    frame.iloc[::-1].assign(flow=frame["flow"] + 1).to_csv("changed.csv", index=False)
    changed, err = run("e", data__path="changed.csv")
    assert changed not in (first, other, stated, described) and err.count("do not count here") == 4


def test_training_steps_are_searched_unless_stated(home, data, registry):
    from ganlib.registry import entry
    from pipelines.figures import Parts
    from pipelines.job import Job
    from pipelines.steps import prepare, settings_of
    from pipelines.trials import DetectorTrials

    options = {"model.tune": 1, "training.batch_size": 4096}
    settings = settings_of("known.csv", label="fault", model="histogram", overrides=options)
    pytest.importorskip("optuna")
    job = Job.create(home / "job", "pump", settings, registry) if (home / "job").mkdir() is None else None
    prepare(str(job.folder))
    parts, schema = Parts(job), job.read().parameters(job.folder)

    def names(model, **given):
        value, space = DetectorTrials(entry(model), {**schema, **given}, parts).begin(lambda part, value: None)
        assert 0 < value <= 1
        return [d.name for d in space]

    assert "steps" in names("vae", trainer={"epochs": 40}) and "steps" not in names("vae", steps=40)
    assert "steps" not in names("histogram")  # it is fitted in one pass
