import asyncio
import time

from redis.asyncio import RedisCluster

import redis
from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.testing import patience
from tests.stores.servers import cluster, form, server
from tests.stores.workers import Product, Source, session_worker, settle, until, worker


async def test_a_cluster_holds_a_coherent_cache():
    source = Source()
    with cluster() as nodes:
        await form(nodes)
        url = f"redis+cluster://127.0.0.1:{nodes[0].connection_pool.connection_kwargs['port']}"
        async with worker(url) as a, worker(url) as b:
            first, second = (source.cached(cache, tags=("products",)) for cache in (a, b))
            await asyncio.gather(*(f(number) for number in range(30) for f in (first, second)))
            assert source.loads == 30
            await settle(b, second, range(30))

            for number in range(30):
                await first.set(Product(id=number, name="Table"), number)
            await asyncio.sleep(0.1)
            assert {(await second(number)).name for number in range(30)} == {"Table"}

            await a.set_many({f"user:{number}": number for number in range(30)}, ttl_seconds=60)
            assert len(await b.get_many([f"user:{n}" for n in range(30)], int)) == 30
            assert await a.delete_pattern("user:*") == 30
            await a.invalidate_tag("products")
            await asyncio.sleep(0.1)
            assert not any([await second.get_cached(number) for number in range(30)])


async def test_on_a_cluster_a_cached_copy_lives_a_second_as_slots_may_move():
    source = Source()
    with cluster() as nodes:
        await form(nodes)
        url = f"redis+cluster://127.0.0.1:{nodes[0].connection_pool.connection_kwargs['port']}"
        async with worker(url) as a, worker(url) as b:
            first, second = (source.cached(cache, tags=("products",)) for cache in (a, b))
            await settle(b, second, range(3))
            b._coherence._channel._on_keys = lambda _: None  # as where nobody follows the server

            await first.set(Product(id=1, name="Table"), 1)
            await until(lambda: _named(second, "Table"), seconds=1.2)
            assert (await second.lookup(2)).tier in {"local", "redis"}
            await a.invalidate_tag("products")
            await until(lambda: _forgotten(second), seconds=1.2)


async def _named(function, name):
    return (await function(1)).name == name


async def _forgotten(function):
    return await function.get_cached(2) is None


async def test_on_a_cluster_a_logout_reaches_all_and_a_copy_lives_a_second_as_slots_may_move(
    monkeypatch,
):
    with cluster() as nodes:
        await form(nodes)
        url = f"redis+cluster://127.0.0.1:{nodes[0].connection_pool.connection_kwargs['port']}"
        async with session_worker(url) as a, session_worker(url) as b:
            # A pipeline would wait for a silent node for ever.
            monkeypatch.setattr(RedisCluster, "pipeline", lambda *_, **__: 1 / 0)
            tokens = [await a.login(None, "ada", {}) for _ in range(11)][1:]
            assert [info.ref for info in await a.list("ada")] == [token.ref for token in tokens]

            async def copied():
                for token in tokens:
                    await b.read(token)
                return all(b._local.get(token.ref) for token in tokens)

            async def forgotten():
                return not any([await b.read(token) for token in tokens])

            await until(copied)
            assert await a.delete_all("ada", keep=tokens[0].ref) == 9
            await until(lambda: _only(b, tokens, 0), seconds=0.1)

            b._local._channel._on_keys = lambda _: None
            await until(lambda: b._local.get(tokens[0].ref))
            await a.delete(tokens[0].ref, user_id="ada")
            await until(forgotten, seconds=1.2)


async def test_a_sentinel_failover_is_followed_and_no_readonly_gets_out():
    config = (
        "sentinel monitor main 127.0.0.1 {} 1\n"
        "sentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 3000\n"
    )
    with (
        server("--save", "", "--repl-diskless-sync-delay", "0") as old,
        server("--save", "", "--replicaof", f"127.0.0.1 {old}") as new,
        redis.Redis(port=new) as replica,
    ):
        # A sentinel that starts before it is so looks again only after ten seconds.
        await until(lambda: _link(replica) == "up", seconds=10)
        with (
            server("--sentinel", config=config.format(old)) as sentinel,
            redis.Redis(port=sentinel) as watcher,
        ):
            await until(lambda: _replicas(watcher), seconds=15)
            url = f"redis+sentinel://127.0.0.1:{sentinel}/main"
            async with RedisClients(url, session_timeout_seconds=0.5) as clients:
                await until(lambda: _written(clients, old))
                await until(lambda: _fail_over(watcher))
                await until(lambda: _primary(watcher) == new, seconds=10)
                promoted = time.monotonic()
                await until(lambda: _written(clients, new), seconds=5)

                assert time.monotonic() - promoted < patience(2)


async def _only(store, tokens, number):
    alive = [await store.read(token) is not None for token in tokens]
    return alive == [index == number for index in range(len(tokens))]


def _link(replica):
    try:
        return replica.info("replication").get("master_link_status")
    except redis.ConnectionError:
        return None


def _replicas(watcher):
    try:
        replies = watcher.execute_command("SENTINEL REPLICAS", "main")
    except redis.RedisError:
        return False
    return [one for one in replies if b"slave" in one or "slave" in str(one)]


def _fail_over(watcher):
    try:
        return watcher.execute_command("SENTINEL FAILOVER", "main")
    except redis.ResponseError:
        return False  # No replica is good yet.


def _primary(watcher):
    return int(watcher.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "main")[1])


async def _written(clients, port):
    try:
        await clients.sessions.set("a", 2)
    except StoreUnavailable:
        return False
    config = await clients.sessions.config_get("port")
    return int(config["port"]) == port
