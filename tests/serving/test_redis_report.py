"""`status` and `verify` of a shared Redis stream."""

import subprocess
import sys

import pytest
from serving_data import good
from test_redis_group import fill, letters, opened

from serving.errors import IntegrityError, UsageError
from serving.redis.report import status, status_lines, verify, verify_line

pytestmark = pytest.mark.services


def test_status_and_verify_of_a_shared_output(server, environment):
    fill(server, good(7))
    group = opened(server, "a")
    group.commit(letters(group.poll(4)), ("1", "2026-01-01T00:00:00"), {})
    group.poll(2)
    found = status(server.url("out"))
    assert [found[name] for name in ("read", "scored", "dead", "pending", "behind")] == [6, 0, 4, 2, 1]
    said = "\n".join(status_lines(found))
    assert "6 read, 2 pending, 1 record behind" in said and "4 dead letters" in said and "a: 2 pending" in said
    counts = verify(server.url("out"))
    assert verify_line(counts) == "6 entries read: 0 scored, 4 dead, 2 pending; none twice"
    for verb, words in (("status", "6 read"), ("verify", "none twice")):
        done = subprocess.run(
            [sys.executable, "-m", "serving", verb, server.url("out")], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0 and words in done.stdout, done.stderr
    for wrong in (server.url("in"), server.url("absent")):
        with pytest.raises(UsageError, match="no output"):
            status(wrong)


def add_again(server):
    name, fields = server.client.xrange("out:dead")[0]
    server.client.xadd("out:dead", fields)
    server.client.hincrby("out:counts", "dead", 1)
    server.client.hincrby("out:counts", "read", 1)


def acknowledge(server):
    server.client.xack(
        "in", "ganlib-out", server.client.xpending_range("in", "ganlib-out", "-", "+", 1)[0]["message_id"]
    )


def write_by_hand(server):
    server.client.xadd("out", {"id": "1-1", "score": "{}"})


def lose_the_output(server):
    server.client.delete("out:dead")


def score_what_is_pending(server):
    name = server.client.xpending_range("in", "ganlib-out", "-", "+", 1)[0]["message_id"]
    server.client.xadd("out", {"id": name, "score": "{}"})
    server.client.hincrby("out:counts", "scored", 1)
    server.client.hincrby("out:counts", "read", 1)


CHANGES = [add_again, acknowledge, write_by_hand, lose_the_output, score_what_is_pending]


@pytest.mark.parametrize("change", CHANGES)
def test_verify_finds_what_was_changed(server, change):
    fill(server, good(7))
    group = opened(server, "a")
    group.commit(letters(group.poll(4)), ("1", "now"), {})
    group.poll(2)
    change(server)
    with pytest.raises(IntegrityError):
        verify(server.url("out"))
