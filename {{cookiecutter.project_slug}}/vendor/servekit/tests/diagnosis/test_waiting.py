"""Where requests wait: locks of the service's own, and the line and route of every other wait."""

import asyncio
import re
from collections import Counter

import anyio
import pytest

from servekit.diagnosis.causes import waits
from servekit.diagnosis.causes.connections import HOLDS
from servekit.diagnosis.evidence import essence, from_own
from servekit.diagnosis.judgement import judge
from servekit.diagnosis.stacks import Frame, Profile
from servekit.monitors.wait_sampler import places
from tests.diagnosis.test_causes import FOUND
from tests.diagnosis.windows import SLOW, profiles, seconds_of

LIBRARIES = "/x/site-packages"
ROUTE = Frame("/stock/{sku}")
OWN = Frame("level", "/srv/shop/stock.py", 9)
ASK = Frame("ask", "/srv/shop/stock.py", 30)
WAY = "level /srv/shop/stock.py:9 -> ask /srv/shop/stock.py:30"
HANDLER = Frame("run_endpoint", f"{LIBRARIES}/fastapi/routing.py", 5)
ENTER = Frame("_ContextManagerMixin.__aenter__", "/usr/lib/python3.11/asyncio/locks.py", 15)
LOCK = Frame("Lock.acquire", "/usr/lib/python3.11/asyncio/locks.py", 113)
UPSTREAM = Frame("Upstream.get", f"{LIBRARIES}/servekit/upstream/client.py", 90)
POOLED = Frame("Queue.get", "/usr/lib/python3.11/asyncio/queues.py", 158)
DATABASE = Frame("AsyncConnection.start", f"{LIBRARIES}/sqlalchemy/ext/asyncio/engine.py", 274)
REDIS = Frame("Pool.get", f"{LIBRARIES}/servekit/redis/pools.py", 40)
SLEEP = Frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", 9)
AT_EASE = [SLOW]


def waiting(**stacks):
    """Return profiles in which requests waited at stacks, by their milliseconds."""
    seen = {}
    for name, profile in profiles().items():
        waited = Counter(dict(stacks.values()))
        seen[name] = Profile(stacks=profile.stacks, waits=waited)
    return seen


def verdicts(deltas, profiles):
    """Return the verdicts by cause, made of what is kept in a report."""
    kept = {}
    for name, profile in profiles.items():
        kept[name] = Profile()
        kept[name].add(essence(profile).collapsed())
    return {one.cause: one for one in judge(seconds_of(*deltas), kept).verdicts}


def test_a_lock_is_named_with_line_route_and_share():
    seen = waiting(
        lock=((ROUTE, HANDLER, OWN, ENTER, LOCK), 700),
        upstream=((ROUTE, HANDLER, OWN, ASK, SLEEP), 300),
    )
    [(cause, verdict)] = verdicts(AT_EASE, seen).items()
    assert cause == "lock_wait"
    assert verdict.share == pytest.approx(0.7)
    assert verdict.route == "/stock/{sku}"
    assert verdict.places == (
        "level /srv/shop/stock.py:9 (100% of the waiting for a lock)",
        f"{WAY} (100% of the other waiting of the route: who has it, maybe)",
    )
    assert [text.partition(":")[0] for text in verdict.ruled_out] == [
        "Event loop",
        "Redis, database, upstreams and pools",
    ]


def test_who_has_a_lock_is_looked_for_on_every_route_if_the_source_is_at_hand():
    ask = Frame("Stock.level", "/srv/shop/stock.py", 9)
    hold = Frame("Stock.refresh", "/srv/shop/stock.py", 20)
    other = Frame("Price.refresh", "/srv/shop/stock.py", 40)
    seen = waiting(
        asks=((ROUTE, HANDLER, ask, ENTER, LOCK), 700),
        has=((Frame("/refresh"), hold, ASK, SLEEP), 100),
        besides=((ROUTE, HANDLER, ask, ASK, SLEEP), 100),
        others=((Frame("/prices"), other, ASK, SLEEP), 100),
    )
    source = {"within": {frame.place: ["self._guard"] for frame in (hold, other)}}
    source["within"][f"{ask.file}:9"] = ["self._guard"]
    [verdict] = judge(seconds_of(*AT_EASE), seen, source=source).verdicts
    assert verdict.places == (
        "Stock.level /srv/shop/stock.py:9 (100% of the waiting for a lock)",
        f"Stock.refresh {hold.place} -> ask {ASK.place} (50% of the waiting of who has it)",
    )


@pytest.mark.parametrize(
    "stack",
    [
        (OWN, UPSTREAM, LOCK),  # a library's own
        (HANDLER, ENTER, LOCK),  # nobody of the service asks
        (OWN, Frame("Event.wait", LOCK.file, 213)),  # on purpose
        (OWN, POOLED),
    ],
)
def test_what_is_no_lock_of_the_services_own_is_not_called_one(stack):
    assert verdicts(AT_EASE, waiting(one=((ROUTE, *stack), 900))) == {}


def test_a_lock_that_nobody_feels_is_none():
    seen = waiting(lock=((ROUTE, OWN, ENTER, LOCK), 700))
    assert verdicts([], seen) == {}
    few = waiting(lock=((ROUTE, OWN, LOCK), 200), rest=((ROUTE, OWN, UPSTREAM), 800))
    assert verdicts(AT_EASE, few) == {}


@pytest.mark.parametrize(
    ("cause", "frame"),
    [
        ("upstream_slow", UPSTREAM),
        ("upstream_pool", UPSTREAM),
        ("database_slow", DATABASE),
        ("database_pool", DATABASE),
        ("redis_slow", REDIS),
        ("redis_pool", REDIS),
    ],
)
def test_who_waits_for_a_neighbour_is_named(cause, frame):
    other = Frame("other", "/srv/shop/other.py", 3)
    seen = waiting(
        those=((ROUTE, HANDLER, OWN, frame, POOLED), 600),
        others=(
            (Frame("/"), other, Frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", 9)),
            400,
        ),
    )
    verdict = verdicts(FOUND[cause], seen)[cause]
    assert verdict.places == ("level /srv/shop/stock.py:9 (100% of the waiting for it)",)
    assert verdict.route == "/stock/{sku}"


HOLDING = Frame(f"{HOLDS})")
TAKEN = Frame(f"{HOLDS} taken at first /srv/shop/stock.py:7)")


def test_who_holds_the_connections_while_it_waits_for_something_else_is_told():
    seen = waiting(
        these=((ROUTE, HANDLER, OWN, HANDLER, ASK, UPSTREAM, TAKEN), 600),
        quick=((ROUTE, HANDLER, OWN, DATABASE, HOLDING), 100),
        others=((ROUTE, HANDLER, OWN, DATABASE, POOLED), 9000),
    )
    [(cause, verdict)] = verdicts(FOUND["database_pool"], seen).items()
    assert cause == "connection_held"
    assert verdict.places == (f"{WAY} (100% of the time in which one was held so)",)
    assert verdict.route == "/stock/{sku}"
    assert "for 86% of the time that requests held any" in verdict.sentence
    assert verdict.sentence.endswith("; most were taken at first /srv/shop/stock.py:7")


@pytest.mark.parametrize("milliseconds", [0, 600])
def test_statements_that_take_their_time_are_no_connections_held(milliseconds):
    seen = waiting(
        these=((ROUTE, HANDLER, OWN, DATABASE, HOLDING), milliseconds),
        moments=((ROUTE, HANDLER, OWN, UPSTREAM, HOLDING), milliseconds // 3),
    )
    [cause] = verdicts(FOUND["database_pool"], seen)
    assert cause == "database_pool"


def test_a_connection_held_beside_is_none_where_nobody_waits_for_it():
    seen = waiting(these=((ROUTE, HANDLER, OWN, UPSTREAM, HOLDING), 600))
    assert list(verdicts(FOUND["upstream_slow"], seen)) == ["upstream_slow"]


@pytest.mark.parametrize(
    "make", [asyncio.Lock, anyio.Lock, lambda: asyncio.Semaphore(1), lambda: anyio.Semaphore(1)]
)
async def test_every_kind_of_lock_is_seen_in_a_task_that_waits_for_it(make):
    lock = make()

    async def ask():
        async with lock:
            pass

    async with lock:
        task = asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        profile = Profile()
        profile.add(f"(waits);/;{';'.join(places(task))} 5\n")
        [stack] = profile.waits
    await task
    assert waits.is_lock(from_own(stack[1:])), stack
    assert re.search(r"ask$", from_own(stack[1:])[0].name)
