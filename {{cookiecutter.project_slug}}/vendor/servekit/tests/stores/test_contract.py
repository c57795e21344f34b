"""What every topology and protocol must do alike."""

import asyncio
from functools import partial
from itertools import product as pairs
from typing import Any

import pytest
from limits import RateLimitItemPerSecond
from limits.aio.strategies import MovingWindowRateLimiter

from servekit.layers.rate_limit_storage import ClientStorage
from tests.redis.patient import patient_clients
from tests.stores.topologies import TOPOLOGIES
from tests.stores.workers import Product, Source, session_worker, until, worker


@pytest.fixture(scope="module", params=TOPOLOGIES)
def topology(request):
    with TOPOLOGIES[request.param]() as url:
        yield url


@pytest.fixture(params=[2, 3])
def url(topology, request):
    return f"{topology}{'&' if '?' in topology else '?'}protocol={request.param}"


def named(request):
    """A namespace of the test's own: the server outlives it."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.fixture
async def caches(url, request):
    name = named(request)
    async with worker(url, prefix=name) as a, worker(url, prefix=name) as b:
        yield a, b


async def test_values_come_back_as_they_were(caches):
    a, b = caches
    await a.set("one", Product(id=1), ttl_seconds=60)
    await a.set_many({f"many:{n}": n for n in range(30)}, ttl_seconds=60)

    assert await b.get("one", Product) == Product(id=1)
    assert await b.get_many([f"many:{n}" for n in range(31)], int) == {
        f"many:{n}": n for n in range(30)
    }
    await b.delete("one", "many:0")
    await until(lambda: _absent(a, "one"), seconds=0.5)
    assert await b.get("many:0", int) is None


async def _absent(cache, key):
    return await cache.get(key, Product) is None


async def test_one_load_serves_all_who_ask_in_both_workers(caches):
    source = Source(0.05)
    functions = [source.cached(cache) for cache in caches]

    values = await asyncio.gather(*(f(7) for f, _ in pairs(functions, range(50))))

    assert {value.id for value in values} == {7}
    assert source.loads == 1


async def test_a_write_of_one_worker_drops_the_copy_of_the_other(caches):
    source = Source()
    first, second = (source.cached(cache) for cache in caches)
    for number in range(10):
        await first.set(Product(id=number), number)
        await until(partial(_local, second, number))

    for number in range(10):
        await first.set(Product(id=number, name="Table"), number)

    for number in range(10):
        await until(partial(_is, second, number, "Table"), seconds=0.5)


async def _local(product, number):
    return (await product.lookup(number)).tier == "local"


async def _is(product, number, name):
    return (await product(number)).name == name


async def test_tags_and_patterns_end_what_they_name(caches):
    source = Source()
    first, second = (source.cached(cache, tags=("all",)) for cache in caches)
    await asyncio.gather(*(first(number) for number in range(20)))
    await asyncio.gather(*(second(number) for number in range(20)))

    await caches[0].invalidate_tag("all")
    await until(lambda: _gone(second), seconds=0.5)
    await asyncio.gather(*(first(number) for number in range(20)))
    assert await caches[1].delete_pattern("product:1*") == 11


async def _gone(product):
    return not any([await product.get_cached(number) for number in range(20)])


async def test_a_login_is_known_everywhere_and_a_logout_is_final(url):
    async with session_worker(url) as a, session_worker(url) as b:
        tokens = [await a.login(None, "ada", {}) for _ in range(5)]
        records = [await b.read(token) for token in tokens]
        assert [record.user_id for record in records] == ["ada"] * 5
        assert len(await b.list("ada")) == 5

        await b.delete(tokens[0].ref, user_id="ada")
        await until(lambda: _ended(a, tokens[:1]), seconds=1.2)
        await b.delete_all("ada")
        await until(lambda: _ended(a, tokens), seconds=1.2)


async def _ended(store, tokens):
    return not any([await store.read(token) for token in tokens])


async def test_a_rate_limit_counts_for_both_workers(url):
    async with patient_clients(url) as a, patient_clients(url) as b:
        for clients in (a, b):
            limiter = MovingWindowRateLimiter(
                ClientStorage(clients.rate_limit, prefix="rate-limit:")
            )
            quota = RateLimitItemPerSecond(2, 60)
            hits = [await limiter.hit(quota, str(url)) for _ in range(2)]
            assert (await limiter.get_window_stats(quota, str(url))).remaining == 0
    assert hits == [False, False]


async def test_many_first_commands_at_once_lose_none(url):
    async with patient_clients(url) as clients:
        values = await asyncio.gather(*(clients.cache.get(f"first:{n}") for n in range(50)))

    assert values == [None] * 50


async def test_an_old_connection_is_replaced_whatever_the_topology(url):
    clients: Any
    async with patient_clients(url, connection_age_seconds_max=0.05) as clients:

        async def number():
            nodes = clients.cache.get_primaries()[:1] if clients.is_cluster else []
            options = {"target_nodes": nodes} if nodes else {}
            return await clients.cache.execute_command("CLIENT ID", **options)

        await clients.cache.get("a")
        first = await number()
        await asyncio.sleep(0.06)
        await clients.cache.get("a")
        assert await number() != first
