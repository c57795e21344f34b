import time

import pytest

from servekit.admission.line import Line, Waiter


def waiting(line, importance="normal", client="a", age=0.0):
    waiter = Waiter(importance, client, time.monotonic() - age)
    line.add(waiter)
    return waiter


def leave(line, waiter):
    line.remove(waiter)
    waiter.admitted.set_result(True)


def called(line, *, newest_first=False):
    """Empty a line; return who was called, in order."""
    order = []
    while (waiter := line.next(newest_first=newest_first)) is not None:
        order.append(waiter)
        leave(line, waiter)
    return order


async def test_first_come_first_served_unless_the_newest_go_first():
    for newest_first in (False, True):
        line = Line()
        waiters = [waiting(line) for _ in range(5)]
        assert len(line) == 5
        order = called(line, newest_first=newest_first)
        assert order == (waiters[::-1] if newest_first else waiters)
        assert len(line) == 0


async def test_the_most_important_are_called_first_and_leave_last():
    line = Line()
    sheddable, critical, normal = (
        waiting(line, importance) for importance in ("sheddable", "critical", "normal")
    )
    for expected in (sheddable, normal, critical):
        assert line.first_to_leave("a", 0.25) is expected
        leave(line, expected)
    sheddable, critical, normal = (
        waiting(line, importance) for importance in ("sheddable", "critical", "normal")
    )
    assert called(line) == [critical, normal, sheddable]


async def test_newest_first_a_client_that_floods_does_not_keep_another_from_the_front():
    line = Line()
    other = waiting(line, client="b")
    for _ in range(5):
        waiting(line, client="a")
    assert other in called(line, newest_first=True)[:2]


async def test_whoever_has_more_than_his_share_of_a_line_leaves_it_first():
    line = Line()
    oldest = waiting(line, client="b")
    own = [waiting(line, client="a") for _ in range(5)]
    assert line.first_to_leave("a", 0.25) is own[0]
    assert line.first_to_leave("b", 0.25) is oldest


async def test_the_oldest_is_known_whoever_has_gone_before():
    line = Line()
    first, _, last = (waiting(line, age=age) for age in (3, 2, 1))
    leave(line, first)
    leave(line, last)
    assert line.waited(time.monotonic()) == pytest.approx(2, abs=0.5)
    assert len(line) == 1


async def test_an_empty_line_has_nobody_to_call_or_send_away():
    line = Line()
    assert line.next(newest_first=True) is None
    assert line.first_to_leave("a", 0.25) is None
    assert line.waited(5.0) == 0
