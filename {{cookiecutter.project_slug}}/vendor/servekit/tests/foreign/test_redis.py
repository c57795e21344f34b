"""Without redis-py's private names there is no channel: the cache is slower, and as true."""

from servekit.cache import Cache
from servekit.redis.clients import RedisClients


async def test_with_the_fast_ways_off_every_read_asks_redis(redis_url, monkeypatch):
    monkeypatch.setenv("SERVEKIT_FAST_WAYS", "off")
    async with (
        RedisClients(redis_url, cache_timeout_seconds=5, connect_timeout_seconds=5) as clients,
        Cache(clients) as cache,
        Cache(clients) as other,
    ):
        for value in (1, 2):
            await cache.set("key", value, ttl_seconds=60)
            assert await other.get("key", int) == value
            assert await cache.get("key", int) == value
        assert not cache.coherent
