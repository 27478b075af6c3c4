"""Batches form under load, wait no longer than told, and a full queue refuses."""

import asyncio

import numpy as np
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.serving.batching import Batcher, Overloaded, TextBatcher


def doubled(questions):
    return [ValueError(f"no {q}") if q < 0 else 2 * q for q in questions]


def test_questions_of_one_moment_are_answered_together():
    async def many():
        batcher = Batcher(doubled, max_batch=8)
        answers = await asyncio.gather(*(batcher.ask(n) for n in range(20)))
        return answers, batcher.counts

    answers, counts = asyncio.run(many())
    assert answers == [2 * n for n in range(20)]
    assert counts.batches == 3 and counts.questions == 20


def test_a_deadline_collects_what_comes_later():
    async def late(deadline_s):
        batcher = Batcher(doubled, max_batch=8, deadline_s=deadline_s)
        first = asyncio.create_task(batcher.ask(1))
        await asyncio.sleep(0.001)
        second = asyncio.create_task(batcher.ask(2))
        await asyncio.gather(first, second)
        return batcher.counts.batches

    assert asyncio.run(late(0.2)) == 1
    assert asyncio.run(late(0.0)) == 2


def test_a_full_batch_does_not_wait_for_the_deadline():
    async def full():
        batcher = Batcher(doubled, max_batch=4, deadline_s=60, max_waiting=8)
        return await asyncio.wait_for(asyncio.gather(*(batcher.ask(n) for n in range(4))), 10)

    assert asyncio.run(full()) == [0, 2, 4, 6]


def test_beyond_the_queue_questions_are_refused_and_the_others_answered():
    async def many():
        batcher = Batcher(doubled, max_batch=2, deadline_s=0.01, max_waiting=2)
        batcher.max_waiting = 1
        answers = await asyncio.gather(*(batcher.ask(n) for n in range(3)), return_exceptions=True)
        return answers, batcher.counts.refused

    answers, refused = asyncio.run(many())
    assert answers[0] == 0 and [type(a) for a in answers[1:]] == [Overloaded] * 2 and refused == 2


def test_a_mistake_reaches_only_who_asked():
    async def mixed():
        batcher = Batcher(doubled, max_batch=8)
        return await asyncio.gather(*(batcher.ask(n) for n in (1, -1, 2)), return_exceptions=True)

    one, wrong, two = asyncio.run(mixed())
    assert (one, two) == (2, 4) and str(wrong) == "no -1"


def test_a_fault_of_the_batch_reaches_all_and_the_next_batch_is_answered():
    calls = []

    def fails_once(questions):
        calls.append(len(questions))
        if len(calls) == 1:
            raise RuntimeError("broken")
        return doubled(questions)

    async def twice():
        batcher = Batcher(fails_once, max_batch=8)
        first = await asyncio.gather(*(batcher.ask(n) for n in range(3)), return_exceptions=True)
        return first, await batcher.ask(5)

    first, second = asyncio.run(twice())
    assert [str(e) for e in first] == ["broken"] * 3 and second == 10


def test_whoever_goes_away_is_not_scored():
    seen = []

    def remembered(questions):
        seen.extend(questions)
        return doubled(questions)

    async def leaving():
        batcher = Batcher(remembered, deadline_s=0.01)
        tasks = [asyncio.create_task(batcher.ask(n)) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(leaving())
    assert found[0] == 0 and isinstance(found[1], asyncio.CancelledError) and seen == [0, 2]


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"deadline_s": -1}, {"max_batch": 9, "max_waiting": 8}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Batcher(doubled, **wrong)


# ---------------------------------------------------------------- texts


def lengths(texts):
    if "wrong" in texts:
        raise ValueError("no text")
    return np.array([[len(text)] for text in texts], dtype=np.float32)


def test_texts_that_arrive_during_a_batch_are_the_next_one():
    async def many():
        batcher = TextBatcher(lengths, max_batch=8)
        found = await asyncio.gather(*(batcher.encode(["x" * n, "y"]) for n in range(10)))
        return found, batcher.counts, await batcher.encode([]), batcher._running

    found, counts, nothing, running = asyncio.run(many())
    assert [[float(v[0]) for v in own] for own in found] == [[n, 1] for n in range(10)]
    assert counts.questions == 20 and counts.batches <= 4 and nothing == [] and running is None


def test_an_encoder_that_fails_says_so_and_goes_on():
    async def wrong_and_right():
        batcher = TextBatcher(lengths)
        with pytest.raises(ValueError, match="no text"):
            await batcher.encode(["wrong"])
        return await batcher.encode(["right"])

    assert asyncio.run(wrong_and_right())[0][0] == 5


def test_too_many_texts_are_refused():
    async def many():
        batcher = TextBatcher(lengths, max_waiting=4)
        return await asyncio.gather(*(batcher.encode(["a", "b"]) for _ in range(4)), return_exceptions=True)

    found = asyncio.run(many())
    assert sum(isinstance(answer, Overloaded) for answer in found) == 2
