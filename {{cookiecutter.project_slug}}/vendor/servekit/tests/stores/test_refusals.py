"""A Redis that refuses by its rules is one that is away: 503 or a worker's own copy, never 500."""

from typing import Any, cast

import pytest
import structlog
from redis.exceptions import AskError, ClusterCrossSlotError, MovedError

import redis
from servekit.cache.cache import Cache
from servekit.errors import StoreUnavailable
from servekit.redis.embedded import EmbeddedServer
from servekit.sessions.store import SessionStore
from tests.redis.patient import patient_clients
from tests.stores.workers import Source, until

RULES = {
    "no scripts": "+@all -eval -evalsha ~* &*",
    "no command in scripts": "+@all -set -hset -hgetall -lpush ~* &*",
    "no keys": "+@all ~other:* &*",
    "no tracking": "+@all -client|tracking ~* &*",
    "nothing": "-@all +hello +auth",
}


@pytest.fixture(scope="module")
def server():
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def url(server, request):
    with redis.Redis(unix_socket_path=str(server.path)) as admin:
        rule = RULES[request.param].split()
        admin.execute_command("ACL", "SETUSER", "u", "reset", "on", ">pw", *rule)
    return f"unix://u:pw@{server.path}"


@pytest.mark.parametrize("url", ["no scripts", "no command in scripts", "nothing"], indirect=True)
async def test_sessions_count_as_unavailable_with_the_reason_of_redis(url):
    async with patient_clients(url) as clients:
        store = SessionStore(clients, secret_keys=["key-of-the-tests"])
        with structlog.testing.capture_logs() as logs:
            for _ in range(6):
                with pytest.raises(StoreUnavailable):
                    await store.login(None, "ada", {})
        [opened] = [each for each in logs if each["event"] == "redis_breaker_opened"]
        assert "permission" in opened["reason"]


@pytest.mark.parametrize("url", list(RULES), indirect=True)
async def test_a_cache_works_without_what_is_refused(url):
    source = Source()
    with structlog.testing.capture_logs() as logs:
        async with patient_clients(url) as clients, Cache(clients) as cache:
            product = source.cached(cache)
            for number in range(3):
                assert (await product(number + 1)).id == number + 1
            await cache.set("a", 1, ttl_seconds=60)
            await cache.delete("a")
            await cache.invalidate_tag("t")
            if not cache.coherent:
                await until(lambda: any("channel" in each["event"] for each in logs))
    failed = [each["error"] for each in logs if each["event"] == "invalidation_channel_failed"]
    assert all("permission" in error and "Error(" not in error for error in failed)


async def test_a_database_that_is_not_there_is_a_redis_that_is_away(server):
    async with patient_clients(f"unix://{server.path}?db=99") as clients:
        with pytest.raises(StoreUnavailable, match="DB index is out of range"):
            await clients.sessions.get("a")


async def test_a_mistake_in_a_command_is_still_raised_as_it_is(server):
    async with patient_clients(server.url) as clients:
        await clients.cache.set("text", "x")
        with pytest.raises(redis.ResponseError, match="wrong kind"):
            await clients.cache.lpush("text", "y")


OF_A_CLUSTER = {
    "MOVED 3999 127.0.0.1:6381": MovedError("3999 127.0.0.1:6381"),
    "ASK 3999 127.0.0.1:6381": AskError("3999 127.0.0.1:6381"),
    "CROSSSLOT": ClusterCrossSlotError("Keys in request don't hash to the same slot"),
}


@pytest.mark.parametrize("name", OF_A_CLUSTER)
async def test_a_cluster_that_is_taken_for_one_server_is_unavailable_with_the_remedy(server, name):
    async with patient_clients(f"unix://{server.path}") as clients:

        async def fail() -> None:
            raise OF_A_CLUSTER[name]

        with pytest.raises(StoreUnavailable, match=r"redis\[s\]\+cluster://"):
            await cast("Any", clients.sessions).budget.run(fail)
