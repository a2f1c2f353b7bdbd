"""Sources alone: each record once, through rotation, restarts and moves; what is lost is a gap."""

import gzip
import json
import os
import random
import shutil
import sqlite3
import time

import pytest

from serving.errors import DataError, UsageError
from serving.sources import find_source
from serving.sources.growing_file import GRACE, GrowingFile
from serving.sources.sqlite_queue import QUEUE_TABLE

OLD = GRACE + 10


class Reader:
    """A stream without a model: polls to the end, commits the cursor as JSON, remembers what came."""

    def __init__(self, url):
        self.url, self.cursors, self.got, self.gaps = str(url), {}, [], []

    def run(self, follow=False, polls=None, state=None):
        """A whole run, from the committed cursors on; with ``polls``, cut off after so many commits."""
        source = find_source(self.url, follow)
        source.resume(self.cursors, state)
        try:
            while not source.finished() and polls != 0:
                self.step(source)
                polls = None if polls is None else polls - 1
        finally:
            source.close()
        return self

    def step(self, source, limit=3):
        records, gaps = source.poll(limit), source.gaps()
        self.gaps += gaps
        if records or gaps:
            self.got += [(r.source, r.position, r.body.decode()) for r in records]
            self.cursors[source.id] = json.loads(json.dumps(source.cursor()))

    @property
    def bodies(self):
        return [body for *_, body in self.got]


def lines(first, last):
    return [json.dumps({"n": n}) for n in range(first, last)]


def write(path, first, last, mode="a", end="\n"):
    with path.open(mode) as file:
        file.write("\n".join(lines(first, last)) + end)


def age(path, seconds=OLD):
    """As if nobody had written to the file for a while."""
    os.utime(path, (time.time() - seconds,) * 2)


def check_once(reader, last):
    assert sorted(map(json.dumps, map(json.loads, reader.bodies))) == sorted(lines(0, last))
    assert len({(source, position) for source, position, _ in reader.got}) == len(reader.got)
    assert not reader.gaps


# ---------------------------------------------------------------- rotation while the stream is down
def shift(path):
    """Make room for a new ``.1``."""
    for number in range(12, 0, -1):
        for ending in ("", ".gz"):
            older = path.with_name(f"{path.name}.{number}{ending}")
            if older.exists():
                older.rename(path.with_name(f"{path.name}.{number + 1}{ending}"))


def rename(path):
    path.rename(path.with_name(path.name + ".1"))


def rename_and_compress(path):
    other = path.with_name(path.name + ".1")
    path.rename(other)
    with other.open("rb") as plain, gzip.open(f"{other}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    shutil.copystat(other, f"{other}.gz")
    other.unlink()


def dated(path):
    path.rename(path.with_name(path.name + "-20261126"))


def copy_and_truncate(path):
    shutil.copy2(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)


ROTATIONS = [rename, rename_and_compress, dated, copy_and_truncate]


@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize("read", [0, 5, 10])
def test_the_unread_rest_of_a_rotated_file_is_read(tmp_path, rotate, read):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    if read:
        write(path, 0, read)
        reader.run()
    write(path, read, 12)
    if not read:
        reader.run()
    rotate(path)
    write(path, 12, 40)  # longer than what was read: its size does not show that it is another file
    reader.run()
    write(path, 40, 45)
    reader.run()
    check_once(reader, 45)


@pytest.mark.parametrize("days", [2, 3])
def test_files_rotated_twice_while_the_stream_was_down_are_read_in_order(tmp_path, days):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    write(path, 0, 5)
    reader.run()
    write(path, 5, 10)
    for day in range(days):
        shift(path)
        rename(path)
        write(path, 10 * (day + 1), 10 * (day + 2))
    reader.run()
    check_once(reader, 10 * (days + 1))
    assert reader.bodies == lines(0, 10 * (days + 1))


def test_a_writer_that_keeps_its_handle_after_the_rename_is_read_on(tmp_path):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    with path.open("a") as old:
        print(*lines(0, 5), sep="\n", file=old, flush=True)
        reader.run()
        rename(path)
        write(path, 20, 25)
        reader.run()
        print(*lines(5, 20), sep="\n", file=old, flush=True)
    reader.run()
    check_once(reader, 25)


def test_old_files_are_let_go_and_never_read_again(tmp_path):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    for day in range(6):
        shift(path)
        if path.exists():
            age(path)
            rename(path)
        write(path, 5 * day, 5 * day + 5)
        reader.run()
    check_once(reader, 30)
    (cursor,) = reader.cursors.values()
    assert len(cursor["files"]) <= 2


LOSSES = {
    "deleted and made anew": lambda path: path.unlink(),
    "truncated": lambda path: os.truncate(path, 0),
    "moved out of sight": lambda path: path.rename(path.with_name("elsewhere.txt")),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("after", [3, 60])
def test_what_cannot_be_found_is_a_gap_and_the_new_file_is_read_whole(tmp_path, loss, after):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    write(path, 0, 10)
    reader.run()
    LOSSES[loss](path)
    write(path, 10, 10 + after)
    reader.run()
    assert reader.bodies == lines(0, 10 + after)
    (gap,) = reader.gaps
    assert str(path) in gap.reason and f"read to byte {len(chr(10).join(lines(0, 10))) + 1}" in gap.reason
    assert not reader.run().gaps[1:]


def test_strangers_beside_a_log_are_left_alone(tmp_path):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    write(path, 0, 5)
    reader.run()
    rename(path)
    for name in ("in.jsonl.bak", "in.jsonl.state.db", "in.jsonl.1x", "in.jsonl2", "xin.jsonl.1"):
        write(tmp_path / name, 100, 110)
    write(path, 5, 10)
    reader.run()
    check_once(reader, 10)


# ---------------------------------------------------------------- while it is read
class Live:
    """A source that stays open while its file changes."""

    def __init__(self, path, now=time.time):
        self.reader = Reader(path)
        self.source = GrowingFile(str(path), True, now)
        self.source.resume({}, None)

    def catch_up(self):
        idle = 0
        while idle < 3:
            before = len(self.reader.got), len(self.reader.gaps)
            self.reader.step(self.source)
            idle = 0 if (len(self.reader.got), len(self.reader.gaps)) != before else idle + 1
        return self.reader


@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize("paused", [True, False])
def test_rotation_under_an_open_stream(tmp_path, rotate, paused):
    path = tmp_path / "in.jsonl"
    write(path, 0, 5)
    live = Live(path)
    live.catch_up()
    write(path, 5, 8)
    if not paused:
        live.catch_up()
    rotate(path)
    write(path, 8, 60)
    live.catch_up()
    check_once(live.reader, 60)


def test_half_a_line_waits_and_a_long_pause_with_two_rotations_loses_nothing(tmp_path):
    path = tmp_path / "in.jsonl"
    write(path, 0, 3, end="\n" + lines(3, 4)[0][:4])
    live = Live(path)
    assert live.catch_up().bodies == lines(0, 3)
    with path.open("a") as file:
        file.write(lines(3, 4)[0][4:] + "\n")
    rename(path)
    write(path, 4, 8)
    path.with_name("in.jsonl.1").rename(path.with_name("in.jsonl.2"))
    rename(path)
    write(path, 8, 12)
    assert live.catch_up().bodies == lines(0, 12)
    check_once(live.reader, 12)


def test_the_half_line_of_a_file_that_is_done_is_a_record(tmp_path):
    path, clock = tmp_path / "in.jsonl", [time.time()]
    write(path, 0, 3, end='\n{"n": "cut')
    live = Live(path, lambda: clock[0])
    live.catch_up()
    rename(path)
    write(path, 3, 5)
    assert live.catch_up().bodies == lines(0, 5)
    clock[0] += OLD
    assert live.catch_up().bodies == [*lines(0, 5), '{"n": "cut']


def test_a_last_line_without_its_end(tmp_path):
    path, reader = tmp_path / "in.jsonl", Reader(tmp_path / "in.jsonl")
    write(path, 0, 3, end="")
    assert reader.run().bodies == lines(0, 3), "a whole object is a record"
    with path.open("a") as file:
        file.write('\n{"n": ')
    source = find_source(str(path), False)
    source.resume(reader.cursors, None)
    assert source.poll(5) == [] and source.finished() and "no end yet (6 bytes)" in source.left()
    source.close()
    with path.open("a") as file:
        file.write("3}\n")
    check_once(reader.run(), 4)


def test_random_rotations_pauses_and_restarts_lose_and_double_nothing(tmp_path):
    for seed in range(25):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = folder / "in.jsonl"
        write(path, 0, 1)
        reader, last = Reader(path).run(), 1
        for _ in range(30):
            action = rng.random()
            if action < 0.5:
                count = rng.randrange(1, 8)
                write(path, last, last + count)
                last += count
            elif action < 0.7 and path.exists() and path.stat().st_size:
                shift(path)
                rng.choice([rename, rename_and_compress, copy_and_truncate])(path)
            elif path.exists():
                reader.run(polls=rng.choice([None, 1, 2]))
        if path.exists():
            reader.run()
            check_once(reader, last)


# ---------------------------------------------------------------- identity
def test_a_moved_folder_goes_on_and_a_copy_begins_anew(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "in.jsonl", 0, 5)
    reader = Reader(tmp_path / "a" / "in.jsonl").run()
    (tmp_path / "a").rename(tmp_path / "b")
    reader.url = str(tmp_path / "b" / "in.jsonl")
    write(tmp_path / "b" / "in.jsonl", 5, 8)
    check_once(reader.run(), 8)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    reader.url = str(tmp_path / "c" / "in.jsonl")
    assert len(reader.run().bodies) == 16 and len(reader.cursors) == 2


def queue(path, first, last, table=QUEUE_TABLE):
    with sqlite3.connect(path) as db:
        db.execute(table)
        db.executemany("INSERT INTO queue(body) VALUES (?)", [(b,) for b in lines(first, last)])


def test_a_queue_is_known_by_its_own_id(tmp_path):
    queue(tmp_path / "q.db", 0, 5)
    reader = Reader(f"sqlite:{tmp_path / 'q.db'}").run()
    (tmp_path / "sub").mkdir()
    (tmp_path / "q.db").rename(tmp_path / "sub" / "moved.db")
    queue(tmp_path / "sub" / "moved.db", 5, 8)
    reader.url = f"sqlite:{tmp_path / 'sub' / 'moved.db'}"
    assert reader.run().bodies == lines(0, 8)
    queue(tmp_path / "q.db", 8, 10)  # a new queue where the old one was
    reader.url = f"sqlite:{tmp_path / 'q.db'}"
    assert reader.run().bodies == lines(0, 10) and len(reader.cursors) == 2
    with sqlite3.connect(tmp_path / "q.db") as db:
        db.execute("DELETE FROM queue")
        db.execute("DELETE FROM sqlite_sequence")
    queue(tmp_path / "q.db", 10, 11)
    with pytest.raises(DataError, match="was emptied by hand"):
        reader.run()


def test_a_cursor_of_an_earlier_release_is_found_by_its_path(tmp_path):
    queue(tmp_path / "q.db", 0, 5)
    reader = Reader(f"sqlite:{tmp_path / 'q.db'}")
    reader.cursors = {f"queue:{tmp_path / 'q.db'}": {"id": 3}}
    assert reader.run().bodies == lines(3, 5) and len(reader.cursors) == 1
    path = tmp_path / "in.jsonl"
    write(path, 0, 5)
    stat = path.stat()
    reader = Reader(path)
    former = {"generation": 1, "offset": len(lines(0, 1)[0]) + 1, "identity": [stat.st_dev, stat.st_ino]}
    reader.cursors = {f"file:{path}": former}
    write(tmp_path / "in.jsonl.1", 50, 60)
    assert reader.run().bodies == lines(1, 5) and {s for s, *_ in reader.got} == {"in.jsonl#1"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("CREATE TABLE queue(id INTEGER PRIMARY KEY, body TEXT)", "could be used twice"),
        ("CREATE TABLE queue(id TEXT PRIMARY KEY, body TEXT)", "could be used twice"),
        ("CREATE TABLE queue(key INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT)", "no column 'id'"),
        ("CREATE VIEW queue AS SELECT 1 AS id, 'x' AS body", "is a view, no table"),
    ],
)
def test_a_table_whose_ids_are_no_positions_is_rejected(tmp_path, table, words):
    with sqlite3.connect(tmp_path / "q.db") as db:
        db.execute(table)
    with pytest.raises(DataError, match=words):
        find_source(f"sqlite:{tmp_path / 'q.db'}", False)


def test_negative_ids_and_bodies_of_any_type_are_records(tmp_path):
    queue(tmp_path / "q.db", 0, 0)
    with sqlite3.connect(tmp_path / "q.db") as db:
        db.execute("INSERT INTO queue VALUES (-5, '{}', NULL), (3, 7, NULL), (4, x'ff00', NULL), (9, 1.5, NULL)")
        db.execute("INSERT INTO queue(id, body) VALUES (12, CAST(x'ff41' AS TEXT))")
    source = find_source(f"sqlite:{tmp_path / 'q.db'}", False)
    source.resume({}, None)
    assert [(r.position, r.body) for r in source.poll(9)] == [
        (-5, b"{}"), (3, b"7"), (4, b"\xff\x00"), (9, b"1.5"), (12, b"\xffA"),
    ]  # fmt: skip
    source.close()


def test_an_unknown_scheme_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read amqp://.*sqlite:"):
        find_source("amqp://host/0", False)
    write(tmp_path / "in.jsonl", 0, 2)
    assert Reader(f"file://{tmp_path / 'in.jsonl'}").run().bodies == lines(0, 2)
