"""Lines of bytes that come in pieces."""

import random
import time

from serving.sources.lines import Lines


def test_lines_are_those_of_the_bytes_however_they_are_cut():
    rng = random.Random(0)
    for _ in range(300):
        data = bytes(rng.choice(b"ab\r\n\n\x00\xff") for _ in range(rng.randrange(60)))
        split, at = Lines(), 0
        while at < len(data):
            step = rng.randrange(1, 9)
            split.feed(data[at : at + step])
            at += step
        split.end()
        expected = data.split(b"\n")
        expected = expected if expected[-1] else expected[:-1]
        assert [line.body for line in split.ready] == [e.removesuffix(b"\r") for e in expected]
        assert sum(line.size for line in split.ready) == len(data)


def test_a_line_of_200_megabytes_takes_linear_time_and_little_memory(tmp_path):
    def seconds(blocks):
        split, block, start = Lines(), b"x" * (1 << 20), time.process_time()
        for _ in range(blocks):
            split.feed(block)
        split.feed(b"\n")
        line = split.ready.popleft()
        assert line.size == (blocks << 20) + 1 and not line.whole and len(line.body) == 64 << 20
        return time.process_time() - start

    assert seconds(200) < 5 * seconds(100) + 0.2
