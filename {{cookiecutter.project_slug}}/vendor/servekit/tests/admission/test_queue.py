import time

import pytest

from servekit.admission.queue import RequestQueue, Waiter


def waiting(queue, importance="normal", client="a", age=0.0):
    waiter = Waiter(importance, client, time.monotonic() - age)
    queue.add(waiter)
    return waiter


def remove(queue, waiter):
    queue.remove(waiter)
    waiter.admitted.set_result(True)


def started(queue, *, newest_first=False):
    """Empty a queue; return what was started, in order."""
    started_order = []
    while (waiter := queue.next(newest_first=newest_first)) is not None:
        started_order.append(waiter)
        remove(queue, waiter)
    return started_order


async def test_first_come_first_served_unless_the_newest_go_first():
    for newest_first in (False, True):
        queue = RequestQueue()
        waiters = [waiting(queue) for _ in range(5)]
        assert len(queue) == 5
        started_order = started(queue, newest_first=newest_first)
        assert started_order == (waiters[::-1] if newest_first else waiters)
        assert len(queue) == 0


async def test_the_most_important_are_started_first_and_refused_last():
    queue = RequestQueue()
    sheddable, critical, normal = (
        waiting(queue, importance) for importance in ("sheddable", "critical", "normal")
    )
    for expected in (sheddable, normal, critical):
        assert queue.first_to_refuse("a", 0.25) is expected
        remove(queue, expected)
    sheddable, critical, normal = (
        waiting(queue, importance) for importance in ("sheddable", "critical", "normal")
    )
    assert started(queue) == [critical, normal, sheddable]


async def test_newest_first_a_client_that_floods_does_not_keep_another_from_the_front():
    queue = RequestQueue()
    other = waiting(queue, client="b")
    for _ in range(5):
        waiting(queue, client="a")
    assert other in started(queue, newest_first=True)[:2]


async def test_a_client_with_more_than_its_share_of_a_queue_is_refused_first():
    queue = RequestQueue()
    oldest = waiting(queue, client="b")
    own = [waiting(queue, client="a") for _ in range(5)]
    assert queue.first_to_refuse("a", 0.25) is own[0]
    assert queue.first_to_refuse("b", 0.25) is oldest


async def test_the_oldest_is_known_whoever_has_gone_before():
    queue = RequestQueue()
    first, _, last = (waiting(queue, age=age) for age in (3, 2, 1))
    remove(queue, first)
    remove(queue, last)
    assert queue.oldest_wait_seconds(time.monotonic()) == pytest.approx(2, abs=0.5)
    assert len(queue) == 1


async def test_an_empty_queue_has_none_to_start_or_refuse():
    queue = RequestQueue()
    assert queue.next(newest_first=True) is None
    assert queue.first_to_refuse("a", 0.25) is None
    assert queue.oldest_wait_seconds(5.0) == 0
