"""A bounded sample of the soak (`make soak`), with other seeds than last time it was extended."""

import pytest
import soak


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(len(soak.kinds())))
def test_nothing_is_lost_doubled_or_stuck(number, artifact):
    kind = soak.kinds()[number]
    counts = soak.episode(kind, 1000 + number, artifact, soak.some_rows(), 5)
    assert sum(counts.values()) >= 5


def test_the_checker_finds_what_is_lost_and_what_is_doubled(artifact, tmp_path):
    """A checker that cannot fail would prove nothing."""
    one = soak.Stream("queue > db", 1, tmp_path, artifact, soak.some_rows())
    one.produce()
    one.end(one.start())
    one.check()
    one.sent.append("one more")
    with pytest.raises(soak.Found, match="lost .'one more'"):
        one.check()
    one.sent = one.sent[:-2]
    with pytest.raises(soak.Found, match="doubled"):
        one.check()
