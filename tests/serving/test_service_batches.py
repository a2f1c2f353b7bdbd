"""Requests that share a batch, wait, or are too many."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import pytest
from service_data import assembled, records
from serving_data import table

from serving.service.batching import Batcher
from serving.service.query import Query
from serving.service.rejected import Rejected


@dataclass(frozen=True)
class Piece:
    rows: int
    key: str = "a"


def wanted(rows, **options):
    return Query({name: [row[name] for row in rows] for name in rows[0]}, len(rows), **options)


def test_scores_do_not_depend_on_who_shares_the_batch(artifact):
    """Bit for bit: each request alone, and all of them in one call, in any order."""
    rows = records(table(300, 4))
    rng = np.random.default_rng(0)
    starts = np.cumsum([0, *rng.integers(1, 9, 40)])
    queries = [wanted(rows[a:b], explain=False) for a, b in zip(starts[:-1], starts[1:], strict=True)]

    async def main():
        service = assembled(artifact)
        (served,) = service.models.values()
        await served.start()
        alone = [served._run([query])[0] for query in queries]
        for order in (range(len(queries)), rng.permutation(len(queries))):
            together = served._run([queries[place] for place in order])
            for place, one in zip(order, together, strict=True):
                for name in ("anomaly_score", "p_value", "is_anomaly"):
                    a, b = getattr(alone[place].scores, name), getattr(one.scores, name)
                    assert len(a) == queries[place].rows and (a == b).all(), (place, name)
        explained = [wanted(rows[:3], explain=True), wanted(rows[3:10], explain=True)]
        both = served._run(explained)
        for one, query in zip(both, explained, strict=True):
            (single,) = served._run([query])
            assert (one.scores.contributions == single.scores.contributions).all()

    asyncio.run(main())


def test_a_bad_request_fails_alone(artifact):
    rows = records(table(6, 4))
    bad = dict(rows[0], count="many")

    async def main():
        (served,) = assembled(artifact).models.values()
        await served.start()
        queries = [wanted(rows[:2]), wanted([rows[2], bad]), wanted(rows[3:]), wanted(rows[:1], alpha=1e-9)]
        results = await asyncio.gather(*(served.score(query) for query in queries), return_exceptions=True)
        assert [type(one).__name__ for one in results] == ["Scored", "Rejected", "Scored", "Rejected"]
        assert results[1].more["row"] == 1 and results[1].more["column"] == "count"
        assert results[3].status == 400 and "alpha" in results[3].message

    asyncio.run(main())


def batches_of(pieces, capacity=10, wait=0.05, busy=0.02, most=100, gap=0.0):
    """The batches that a batcher forms of pieces, and the seconds until each was done."""
    seen, waited = [], []

    def run(batch):
        seen.append(list(batch))
        time.sleep(busy)
        return [one.rows for one in batch]

    async def main():
        batcher = Batcher(run, lambda: capacity, wait, most)

        async def one(piece):
            began = time.monotonic()
            result = await batcher.score(piece)
            waited.append(time.monotonic() - began)
            return result

        tasks = []
        for piece in pieces:
            tasks.append(asyncio.create_task(one(piece)))
            await asyncio.sleep(gap)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return results

    return asyncio.run(main()), seen, waited


def test_a_lone_request_does_not_wait():
    results, seen, waited = batches_of([Piece(1)], wait=1.0)
    assert results == [1] and len(seen) == 1 and waited[0] < 0.5


def test_batches_are_full_in_order_and_of_one_key():
    pieces = [Piece(1), *[Piece(3) for _ in range(6)], Piece(2, "b"), Piece(50)]
    results, seen, _ = batches_of(pieces)
    assert results == [piece.rows for piece in pieces]
    assert len(seen) < len(pieces)
    for batch in seen:
        assert len({piece.key for piece in batch}) == 1
        assert sum(piece.rows for piece in batch) <= 10 or len(batch) == 1
    assert sorted(p.rows for batch in seen for p in batch) == sorted(p.rows for p in pieces)


def test_the_queue_is_bounded_and_overload_gets_a_time_to_retry():
    # One runs and three wait.
    results, _, _ = batches_of([Piece(10) for _ in range(8)], most=3, busy=0.2)
    rejected = [one for one in results if isinstance(one, Rejected)]
    assert len(rejected) == 4 and {one.status for one in rejected} == {503}
    assert all(1 <= int(one.headers["Retry-After"]) <= 60 for one in rejected)


def test_retry_after_follows_queue_and_rate():
    def run(batch):
        time.sleep(0.2)
        return [None] * len(batch)

    async def main():
        batcher = Batcher(run, lambda: 10, 0.0, 1000)
        await batcher.score(Piece(10))  # 50 rows a second
        tasks = [asyncio.create_task(batcher.score(Piece(10))) for _ in range(21)]
        await asyncio.sleep(0.05)
        few, rows = batcher.retry_after(), batcher.rows
        assert rows == 200 and 3 <= few <= 5
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher.rows == 0
        batcher.close()

    asyncio.run(main())


def test_a_failed_batch_fails_its_requests_only():
    def run(batch):
        if any(piece.rows == 7 for piece in batch):
            raise MemoryError("no")
        return [piece.rows for piece in batch]

    async def main():
        batcher = Batcher(run, lambda: 7, 0.0, 100)
        with pytest.raises(MemoryError):
            await batcher.score(Piece(7))
        assert await batcher.score(Piece(2)) == 2
        batcher.close()

    asyncio.run(main())
