import asyncio
import contextlib
import random
import time
from unittest.mock import Mock

import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry, generate_latest
from redis.exceptions import NoPermissionError, ResponseError

from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.redis.url import parse_redis_url
from servekit.resilience.breaker import CLOSED
from servekit.resilience.deadlines import Deadline, current_deadline
from servekit.resilience.retry_budget import RetryBudget
from servekit.testing import patience
from tests.processes.running import eventually
from tests.redis.patient import patient_clients
from tests.stores.proxy import Proxy


@pytest.fixture
async def proxy(redis_server, redis_url):
    async with Proxy(str(redis_server.path)) as proxy:
        yield proxy


async def time_to_fail(call):
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await call()
    return time.monotonic() - started


async def test_a_refusal_and_silence_end_within_the_budget(proxy):
    async with RedisClients(proxy.url) as clients:
        await clients.cache.ping()
        await clients.sessions.ping()
        proxy.black_hole = True
        await asyncio.sleep(0.3)
        assert 0.08 < await time_to_fail(lambda: clients.cache.get("a")) < patience(0.5)
        assert 0.23 < await time_to_fail(lambda: clients.sessions.get("a")) < patience(0.7)

        await proxy.refuse()
        assert await time_to_fail(lambda: clients.cache.get("a")) < patience(0.3)
        assert await time_to_fail(lambda: clients.sessions.get("a")) < patience(0.3)


async def test_a_breaker_closes_by_itself_though_nobody_else_uses_its_pool(redis_url):
    async with patient_clients(redis_url) as clients:
        for breaker in clients.breakers.values():
            breaker.suspect()
        breaker = clients.breakers["rate_limit"]
        breaker.allow()  # a probe that finds nothing
        breaker.failed()
        await eventually(lambda: all(one.state == CLOSED for one in clients.breakers.values()))


async def test_a_reply_to_a_ping_does_not_close_the_breaker_of_what_redis_refuses(redis_url):
    async with patient_clients(redis_url) as clients:
        breaker = clients.breakers["sessions"]
        for _ in range(5):
            with contextlib.suppress(NoPermissionError), breaker:
                raise NoPermissionError("this user has no permissions to run 'evalsha'")
        await asyncio.sleep(0)
        await clients.recovered()
        assert breaker.state != CLOSED
        breaker.suspect()
        breaker.refused = False
        await clients.recovered()
        assert breaker.state == CLOSED


async def test_pipelines_keep_the_budget_too(proxy):
    async with RedisClients(proxy.url) as clients:
        async with clients.cache.pipeline() as pipeline:
            pipeline.set("a", 1)
            pipeline.get("a")
            assert await pipeline.execute() == [True, b"1"]
        proxy.black_hole = True
        await asyncio.sleep(0.1)
        async with clients.cache.pipeline() as pipeline:
            pipeline.get("a")
            assert await time_to_fail(pipeline.execute) < patience(0.5)


async def test_a_mistake_in_a_command_is_told_as_redis_says_it(redis_url):
    async with patient_clients(redis_url) as clients:
        await clients.cache.set("a", "word")
        with pytest.raises(ResponseError):
            await clients.cache.incr("a")


async def test_a_restart_costs_no_error_on_idle_connections(proxy):
    async with patient_clients(proxy.url) as clients:
        await clients.cache.set("a", 1)
        proxy.reset()
        await asyncio.sleep(0.01)

        assert await clients.cache.get("a") == b"1"


async def test_a_session_command_is_tried_again_when_its_connection_breaks(proxy):
    registry = CollectorRegistry()
    async with patient_clients(proxy.url, registry=registry) as clients:
        await clients.sessions.ping()
        proxy.black_hole = True
        call = asyncio.ensure_future(clients.sessions.ping())
        await asyncio.sleep(0.02)
        proxy.black_hole = False
        proxy.reset()

        assert await call
    assert registry.get_sample_value("redis_retries_total") == 1


async def test_a_command_takes_no_longer_than_its_request_has_and_that_is_no_fault_of_redis(proxy):
    loop = asyncio.get_running_loop()
    async with RedisClients(proxy.url, cache_timeout_seconds=10) as clients:
        await clients.cache.ping()
        proxy.black_hole = True
        began = loop.time()
        for _ in range(6):
            token = current_deadline.set(Deadline(0.03))
            with pytest.raises(StoreUnavailable):
                await clients.cache.ping()
            current_deadline.reset(token)

        assert loop.time() - began < patience(5)
        assert clients.breakers["cache"].state == CLOSED


def test_retries_are_a_tenth_of_all_calls_at_most(monkeypatch):
    budget = RetryBudget(per_second=1e9)
    retries = 0
    for _ in range(1000):
        budget.earn()
        retries += budget.take()

    assert retries <= 101
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 10)
    slow, taken = RetryBudget(ratio=1), 0
    for _ in range(60):
        for _ in range(10):
            slow.earn()
            taken += slow.take()
    assert taken <= 60, "in a minute"
    slow = RetryBudget(ratio=1)
    for _ in range(100):
        slow.earn()
    assert sum(slow.take() for _ in range(100)) <= 6


async def test_a_burst_waits_for_connections_in_order(redis_url):
    registry = CollectorRegistry()
    async with patient_clients(redis_url, registry=registry, connections=2) as clients:
        order = []

        async def call(number):
            await clients.cache.get("a")
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(100)))

        assert max(abs(place - number) for place, number in enumerate(order)) <= 2
        assert len(await clients.cache.client_list()) <= 2
    text = generate_latest(registry).decode()
    assert 'redis_pool_wait_seconds_count{pool="cache"} 98.0' in text
    assert 'redis_command_duration_seconds_count{pool="cache"} 101.0' in text


async def test_an_old_connection_is_replaced(redis_url):
    async with patient_clients(redis_url, connection_age_seconds_max=0.05) as clients:
        first = await clients.cache.client_id()
        assert await clients.cache.client_id() == first
        await asyncio.sleep(0.06)

        assert await clients.cache.client_id() != first


async def test_a_new_connection_reads_no_package_metadata(redis_url, monkeypatch):
    read = Mock(return_value="8")
    monkeypatch.setattr("redis.utils.get_lib_version", read)
    async with patient_clients(redis_url) as clients:
        await clients.cache.ping()
        for connection in await clients.invalidation_connections():
            await connection.disconnect()
    read.assert_not_called()


async def test_cancelled_commands_never_give_their_answer_to_another(proxy):
    async with patient_clients(proxy.url, connections=16) as clients:
        async with clients.cache.pipeline(transaction=False) as pipeline:
            for number in range(100):
                pipeline.set(f"key:{number}", number)
            await pipeline.execute()
        proxy.latency_seconds = 0.002
        wrong = []

        async def read():
            number = random.randrange(100)
            answer = await clients.cache.get(f"key:{number}")
            if answer != str(number).encode():
                wrong.append((number, answer))

        tasks = []
        for _ in range(2000):
            task = asyncio.create_task(read())
            tasks.append(task)
            if random.random() < 0.5:
                asyncio.get_running_loop().call_later(random.random() * 0.02, task.cancel)
            if random.random() < 0.1:
                await asyncio.sleep(0.005)
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert wrong == []
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) > 200
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_invalidation_connection_speaks_resp3_whatever_the_pools_do(redis_url, protocol):
    async with patient_clients(f"{redis_url}?protocol={protocol}") as clients:
        (connection,) = await clients.invalidation_connections()
        await connection.send_command("HELLO")

        assert (await connection.read_response())[b"proto"] == 3
        hello = await clients.cache.execute_command("HELLO")
        assert (hello[b"proto"] if protocol == 3 else dict(_pairs(hello))[b"proto"]) == protocol
        await connection.disconnect()


def _pairs(flat):
    return zip(flat[::2], flat[1::2], strict=True)


@pytest.mark.parametrize(
    ("url", "kind", "tls", "options"),
    [
        ("redis://user:p%40ss@host:7/2", "standalone", False, {"host": "host", "db": 2}),
        ("rediss://host", "standalone", True, {"host": "host"}),
        ("unix:///run/redis.sock?db=3", "standalone", False, {"path": "/run/redis.sock", "db": 3}),
        ("redis+cluster://host:7000", "cluster", False, {"host": "host", "port": 7000}),
        ("rediss+cluster://host", "cluster", True, {"host": "host"}),
        ("redis+sentinel://u:p%40@a:1,b/main?db=1", "sentinel", False, {"password": "p@", "db": 1}),
        ("rediss+sentinel://[::1]:5/main", "sentinel", True, {}),
    ],
)
def test_urls_say_what_redis_is(url, kind, tls, options):
    parsed = parse_redis_url(url)

    assert (parsed.kind, parsed.tls) == (kind, tls)
    assert options.items() <= parsed.options.items()
    if kind == "sentinel":
        assert parsed.service == "main"
        assert parsed.sentinels in {(("a", 1), ("b", 26379)), (("::1", 5),)}


@pytest.mark.parametrize(
    "url", ["", "host:6379", "http://host", "redis+x://h", "redis+sentinel://h"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(ValueError, match="URL"):
        parse_redis_url(url)


async def test_clients_close_every_connection(redis_url):
    async with redis.asyncio.from_url(redis_url) as client:
        async with patient_clients(redis_url) as clients:
            await asyncio.gather(*(clients.cache.ping() for _ in range(10)))
            await clients.rate_limit.ping()
            assert len(await client.client_list()) > 5
        async with asyncio.timeout(patience(2)):
            while len(await client.client_list()) > 1:  # noqa: ASYNC110 - Redis says when
                await asyncio.sleep(0.005)
