"""``verify`` of a stream's output finds each record that is missing, doubled or added."""

import json
import sqlite3
from contextlib import closing

import pytest
from serving_data import fill, good

from serving.errors import IntegrityError, UsageError
from serving.letters import store_of
from serving.sinks import open_sink
from serving.stream import run_stream
from serving.verify import line, verify

ROWS = 30
BAD = ["not JSON", "[]"]


def state_of(output):
    return output if output.suffix == ".db" else output.with_name(output.name + ".state.db")


def change(path, *questions):
    with closing(sqlite3.connect(path)) as db, db:
        for question in questions:
            db.execute(question)


@pytest.fixture(params=["o.db", "o.jsonl"])
def output(request, artifact, tmp_path):
    fill(tmp_path / "q.db", good(ROWS) + BAD)
    made = tmp_path / request.param
    assert run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", made, max_rows=7) == 0
    return made


def rewritten(output, change):
    """Change the lines of an output, and what is committed with them."""
    lines = change(output.read_bytes().splitlines(keepends=True))
    output.write_bytes(b"".join(lines))
    cursor = json.dumps({"bytes": output.stat().st_size})
    with closing(sqlite3.connect(state_of(output))) as db, db:
        db.execute("UPDATE cursor SET state = ? WHERE consumer = 'jsonl'", (cursor,))


def drop_score(output):
    if output.suffix == ".db":
        change(output, "DELETE FROM scores WHERE position = 9")
    else:
        rewritten(output, lambda lines: lines[:8] + lines[9:])


def test_a_sound_output_is_recounted(output):
    found = verify(output)
    assert (found["scored"], found["dead_letters"], found["pruned"]) == (ROWS, 2, 0)
    assert found["sources"][0]["checked"] == "all 32 rows of the queue up to id 32"
    assert line(found).splitlines()[0] == "30 score rows and 2 dead letters: each record once"


def test_a_missing_score_is_found_by_the_count_and_by_the_queue(output):
    drop_score(output)
    with pytest.raises(IntegrityError, match="1 score row of those committed was deleted"):
        verify(output)
    change(state_of(output), "UPDATE totals SET scored = scored - 1")
    with pytest.raises(IntegrityError, match="1 row of q.db up to id 32 .* the first one id 9"):
        verify(output)


def test_a_missing_dead_letter_is_found(output):
    change(state_of(output), "DELETE FROM dead_letters WHERE position = 32")
    with pytest.raises(IntegrityError, match="neither a score row nor a dead letter, the first one id 32"):
        verify(output)


def test_a_record_with_a_score_and_a_dead_letter_is_found(output):
    change(state_of(output), "UPDATE dead_letters SET position = 5 WHERE position = 31")
    with pytest.raises(IntegrityError, match=r"record 5 of q.db has a score row and a dead letter"):
        verify(output)


def test_doubled_and_added_rows_are_found(output):
    if output.suffix == ".jsonl":
        rewritten(output, lambda lines: [*lines, lines[3]])
        with pytest.raises(IntegrityError, match=r"record 4 of q.db has two score rows"):
            verify(output)
        return
    change(output, "INSERT INTO scores(source, position) VALUES ('q.db', 900)")
    with pytest.raises(IntegrityError, match="1 score row was added by another program"):
        verify(output)


def test_damage_is_found(output):
    if output.suffix == ".jsonl":
        rewritten(output, lambda lines: [b"x" * (len(lines[0]) - 1) + b"\n", *lines[1:]])
        with pytest.raises(IntegrityError, match="line 1 is no score row"):
            verify(output)
        output.write_bytes(output.read_bytes()[:-5])
        with pytest.raises(Exception, match="shorter than"):
            verify(output)
        return
    data = bytearray(output.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    output.write_bytes(data)
    with pytest.raises(Exception, match="damaged|cannot be read"):
        verify(output)


def test_rows_beyond_the_committed_length_do_not_count(output):
    if output.suffix == ".jsonl":
        with output.open("ab") as file:
            file.write(b'{"half')
        assert verify(output)["scored"] == ROWS


def test_an_output_of_an_earlier_release_is_said(output):
    change(state_of(output), "DROP TABLE removed")
    assert not verify(output)["counted"]
    open_sink(output).close()
    found = verify(output)
    assert not found["counted"] and "an earlier release wrote part of it" in line(found)


def test_a_queue_that_is_gone_or_another_is_said(output, tmp_path):
    (tmp_path / "q.db").rename(tmp_path / "moved.db")
    assert "is gone" in verify(output)["sources"][0]["checked"]
    fill(tmp_path / "q.db", good(3))
    change(tmp_path / "q.db", "CREATE TABLE queue_identity(one INTEGER PRIMARY KEY, id BLOB)",
           "INSERT INTO queue_identity VALUES (1, X'31')")  # fmt: skip
    assert "is another queue now" in verify(output)["sources"][0]["checked"]


def test_what_no_stream_wrote_is_a_usage_error(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path / "notes.txt", tmp_path / "nothing"):
        with pytest.raises(UsageError, match="no output of|neither the output"):
            verify(path)


def test_dropped_dead_letters_are_no_loss_and_a_missing_score_still_is(output):
    assert store_of(str(output)).drop([("q.db", 31)]) == 1
    found = verify(output)
    assert found["dropped"] == 1 and found["dead_letters"] == 1 and "1 dead letter dropped" in line(found)
    assert "but 1, as many as dead letters may have been dropped" in found["sources"][0]["checked"]
    drop_score(output)
    with pytest.raises(IntegrityError, match="was deleted"):
        verify(output)
