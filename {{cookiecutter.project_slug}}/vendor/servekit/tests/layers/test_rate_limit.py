import asyncio

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from servekit.layers.rate_limit import LocalWindow, RateLimitMiddleware, client_key
from servekit.redis.clients import RedisClients
from servekit.testing import patience
from tests.redis.patient import patient_clients


async def answer_ok(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def limited(clients, *, address="192.0.2.1", **options):
    middleware = RateLimitMiddleware(answer_ok, clients=clients, **({"requests": 5} | options))
    transport = httpx2.ASGITransport(middleware, client=(address, 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


async def statuses(client, count, path="/", method="GET"):
    return [(await client.request(method, path)).status_code for _ in range(count)]


@pytest.fixture
async def clients(redis_url):
    async with patient_clients(redis_url) as clients:
        yield clients


async def test_a_client_over_its_quota_is_told_how_long_to_wait(clients):
    async with limited(clients) as client:
        assert await statuses(client, 5) == [200] * 5
        answer = await client.get("/")

    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert 58 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-policy"] == '"client";q=5;w=60'
    assert answer.headers["ratelimit"] == f'"client";r=0;t={answer.headers["retry-after"]}'


async def test_two_workers_share_one_quota(clients):
    async with limited(clients, requests=40) as one, limited(clients, requests=40) as two:
        seen = await asyncio.gather(statuses(one, 60), statuses(two, 60))

    assert (seen[0] + seen[1]).count(200) == 40


async def test_other_clients_are_not_concerned(clients):
    async with limited(clients) as one, limited(clients, address="192.0.2.2") as two:
        assert (await statuses(one, 6))[-1] == 429
        assert await statuses(two, 5) == [200] * 5


async def test_after_the_wait_the_client_is_served_again(clients):
    async with limited(clients, requests=2, window_seconds=1) as client:
        assert await statuses(client, 3) == [200, 200, 429]
        async with asyncio.timeout(patience(3)):
            while (await statuses(client, 1)) == [429]:  # noqa: ASYNC110 - time is what it needs
                await asyncio.sleep(0.02)


async def test_refusing_costs_redis_nothing(clients):
    async with limited(clients) as client:
        await statuses(client, 6)
        before = (await clients.rate_limit.info("stats"))["total_commands_processed"]
        await statuses(client, 50)
        after = (await clients.rate_limit.info("stats"))["total_commands_processed"]

    assert after - before <= 2


async def test_preflights_and_probes_are_not_counted(clients):
    async with limited(clients, requests=1) as client:
        assert await statuses(client, 5, method="OPTIONS") == [200] * 5
        assert await statuses(client, 5, path="/livez") == [200] * 5
        assert await statuses(client, 2) == [200, 429]


async def test_a_forwarded_header_changes_nothing(clients):
    async with limited(clients) as client:
        seen = [
            (await client.get("/", headers={"x-forwarded-for": f"203.0.113.{n}"})).status_code
            for n in range(8)
        ]

    assert seen == [200] * 5 + [429] * 3


async def test_while_redis_is_away_the_worker_counts_for_itself():
    registry = CollectorRegistry()
    async with (
        RedisClients("redis://127.0.0.1:1") as clients,
        limited(clients, registry=registry) as client,
    ):
        answers = [await client.get("/") for _ in range(8)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert 11 <= int(answers[-1].headers["retry-after"]) <= 12
    name = "http_requests_rate_limited_total"
    assert registry.get_sample_value(name, {"store": "local"}) == 3


def test_the_local_count_refills_evenly_and_forgets_old_clients():
    window = LocalWindow(10, 60)

    assert [window.hit("a", 0) for _ in range(10)] == [0] * 10
    assert window.hit("a", 0) == pytest.approx(6)
    assert window.hit("a", 6.001) == 0
    assert window.hit("a", 6.001) > 5
    for n in range(20_000):
        window.hit(str(n), 7)
    assert len(window._due) <= 10_000


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_customer_is_one_client(address, key):
    assert client_key({"client": (address, 1)}) == key


def test_a_client_without_an_address_is_counted_too():
    assert client_key({"client": None}) == "unknown"
