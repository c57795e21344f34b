"""Without redis-py's private names there is no channel: the cache is slower, and as true."""

from servekit.cache import Cache
from tests.redis.patient import patient_clients


async def test_with_the_fast_ways_off_every_read_asks_redis(redis_url, monkeypatch):
    monkeypatch.setenv("SERVEKIT_FAST_WAYS", "off")
    async with (
        patient_clients(redis_url) as clients,
        Cache(clients) as cache,
        Cache(clients) as other,
    ):
        for value in (1, 2):
            await cache.set("key", value, ttl_seconds=60)
            assert await other.get("key", int) == value
            assert await cache.get("key", int) == value
        assert not cache.coherent
