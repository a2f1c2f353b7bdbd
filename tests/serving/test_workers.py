"""Executors: whatever runs the units, the folder is the same, and errors arrive as what they are."""

import sys
from multiprocessing.reduction import ForkingPickler

import pyarrow as pa
import pytest
from serving_data import table

from serving import errors
from serving.batch import open_scores, score_batch
from serving.units import UnitScorer
from serving.verify import verify
from serving.workers import EXECUTORS, Processes, _sendable

loads = ForkingPickler.loads


class Elsewhere:
    """As a cluster would: each unit sent alone with its job, in any order, opened anew."""

    def run(self, job, units):
        for unit in reversed(units):
            job_there, unit_there = loads(bytes(ForkingPickler.dumps((job, unit))))
            list(UnitScorer(job_there, job_there.source.open()).score([unit_there]))
            yield unit


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "input"
    folder.mkdir()
    for number, name in enumerate("abc"):
        table(30, number).to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_every_executor_writes_the_same_scores(artifact, source, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.plan.ROWS_PER_UNIT", 20)
    found = {}
    ways = {"in turn": EXECUTORS["local"], "processes": lambda *_: Processes(2), "elsewhere": lambda *_: Elsewhere()}
    for name, executor in ways.items():
        monkeypatch.setitem(EXECUTORS, "local", executor)
        out = tmp_path / name
        assert score_batch(artifact, source, out, model_name="pump", model_version="3").units == 6
        assert verify(out)["rows"] == 90
        found[name] = open_scores(out).drop_columns(["scored_at"])
    assert all(scores.equals(found["in turn"]) for scores in found.values())


def kinds(base):
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("kind", kinds(errors.ServingError))
def test_an_error_of_ours_arrives_as_it_was(kind):
    error = kind("column", 3, "why") if kind is errors.ValueRefused else kind("the message")
    there = loads(bytes(ForkingPickler.dumps(_sendable(error))))
    assert type(there) is kind and str(there) == str(error) and there.exit_code == error.exit_code


OTHERS = [OSError(28, "full"), MemoryError("much"),
          UnicodeDecodeError("utf-8", b"x", 0, 1, "y"), pa.ArrowInvalid("odd"),
          type("Odd", (Exception,), {})("local")]  # fmt: skip


@pytest.mark.parametrize("error", OTHERS)
def test_any_other_error_arrives_with_its_text_and_traceback(error):
    there = loads(bytes(ForkingPickler.dumps(_sendable(error))))
    assert str(error) in str(there) and any(type(error).__name__ in note for note in there.__notes__)
    assert not isinstance(error, OSError) or there.errno == 28


def test_no_units_need_no_process():
    assert list(Processes(2).run(None, [])) == []


def test_a_missing_extra_is_one_line(artifact, source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(errors.UsageError, match=r"--executor ray needs an extra: pip install 'ganlib\[ray\]'"):
        score_batch(artifact, source, tmp_path / "out", executor="ray")
    with pytest.raises(errors.UsageError, match="--executor is local or ray, not 'dask'"):
        score_batch(artifact, source, tmp_path / "out", executor="dask")
