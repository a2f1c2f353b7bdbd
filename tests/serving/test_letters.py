"""`ganlib dlq`: dead letters by reason, with columns masked, dropped and replayed."""

import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_data import good
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.errors import UsageError as Unconfirmed
from serving.errors import TemporaryError, UsageError
from serving.lease import Lease
from serving.letters import kind_of, masked_reason, masked_record, store_of
from serving.redis.report import status, verify
from serving.sinks import lease_of
from serving.stream import run_stream

SECRET = "4711-secret"


def records():
    """Two of one kind with different values, one of another, one that is no JSON; and good ones."""
    fine = [json.loads(text) for text in good(3)]
    bad = [{**fine[0], "count": f"{SECRET}{n}", "kind": SECRET} for n in range(2)]
    return [*map(json.dumps, [*bad, {"amount": SECRET}, *fine]), f"no JSON {SECRET}"]


@pytest.fixture(params=["db", "jsonl", "redis"])
def output(request, artifact, tmp_path):
    """An output with four dead letters of three kinds."""
    if request.param == "redis":
        server = request.getfixturevalue("server")
        for record in records():
            server.client.xadd("in", {"record": record})
        run_stream(artifact, server.url("in"), server.url("out"))
        return server.url("out")
    (tmp_path / "in.jsonl").write_text("\n".join(records()) + "\n")
    run_stream(artifact, str(tmp_path / "in.jsonl"), tmp_path / f"out.{request.param}")
    return str(tmp_path / f"out.{request.param}")


def call(*line):
    done = CliRunner().invoke(app, ["dlq", *map(str, line)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_list_groups_by_reason_with_counts(output):
    found = json.loads(call("list", output, "--json"))
    assert [row["count"] for row in found] == [2, 1, 1] and found[0]["reason"].startswith("column 'count': …")
    assert {"2", "1"} <= set(call("list", output).split()) and SECRET not in call("list", output)


def test_masked_columns_are_in_nothing_that_is_printed(output):
    plain = call("show", output)
    assert plain.count(SECRET) >= 6 and "not JSON" in plain
    mask = ("--mask", "count,kind", "--mask", "amount")
    for verb, extra in (("show", ()), ("show", ("--json",)), ("list", ("--json",)), ("list", ())):
        said = call(verb, output, *mask, *extra)
        assert SECRET not in said and "***" in said
    assert len(json.loads(call("show", output, "--limit", "2", "--json"))) == 2
    assert len(json.loads(call("show", output, "--reason", "not JSON", "--json"))) == 1


def test_drop_needs_yes_and_deletes_what_was_chosen(output):
    with pytest.raises(Unconfirmed, match=r"delete 2 dead letters .*--yes"):
        call("drop", output, "--reason", "is not a number")
    assert "2 dead letters dropped" in call("drop", output, "--reason", "is not a number", "--yes")
    assert [row["count"] for row in json.loads(call("list", output, "--json"))] == [1, 1]
    assert json.loads(call("drop", output, "--yes", "--json")) == {"dropped": 2}
    assert "no dead letters" in call("show", output) and "no dead letters" in call("list", output)
    if output.startswith("redis"):
        assert (verify(output)["dead"], status(output)["dropped"]) == (4, 4)


def test_a_stream_that_writes_the_output_is_not_disturbed(output):
    if output.startswith("redis"):
        return
    from pathlib import Path

    with Lease(lease_of(Path(output))), pytest.raises(TemporaryError, match="is being written"):
        call("drop", output, "--yes")


def test_replay_scores_again_or_names_the_way(output, artifact):
    line = ("replay", output, "--model", artifact)
    if output.startswith("redis"):
        with pytest.raises(UsageError, match=r"--replay.*FILE\.db"):
            call(*line)
        return
    state = output if output.endswith(".db") else output + ".state.db"
    with sqlite3.connect(state) as db:
        query = "UPDATE dead_letters SET body = CAST(? AS BLOB) WHERE reason LIKE '%not a number%'"
        db.execute(query, (good(1)[0],))
    call(*line)
    assert [row["count"] for row in json.loads(call("list", output, "--json"))] == [1, 1]


def test_other_outputs_are_rejected(tmp_path):
    for wrong in (tmp_path / "absent.db", tmp_path):
        with pytest.raises(UsageError):
            store_of(str(wrong))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(min_size=1), st.text()), st.text(alphabet="abc", min_size=1))
def test_a_masked_record_never_holds_the_value(record, name):
    value = "never-shown-77"
    text, held = masked_record(json.dumps({**record, name: value}).encode(), [name])
    assert value not in text and held == {name}
    assert value not in masked_record(f"{name}={value}".encode(), [name])[0]
    for reason in (f"column {name!r}: {value!r} is not a number", f"cannot be scored: ValueError: {value}"):
        assert value not in masked_reason(reason, [name])


def test_kinds_of_reasons():
    assert kind_of("column 'a': 'x' is not a number") == kind_of("column 'a': 'y' is not a number")
    assert kind_of("column 'a': 'x' is not a number") != kind_of("column 'b': 'x' is not a number")
    assert kind_of("missing columns: 'a', 'b'") == "missing columns: 'a', 'b'"
    assert kind_of("not UTF-8 (byte 7)") == kind_of("not UTF-8 (byte 12)")
