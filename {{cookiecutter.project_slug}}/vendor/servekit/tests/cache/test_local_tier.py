import subprocess
import sys
import time
from functools import partial
from typing import Any

import pytest

from servekit.cache.codecs import codec_of
from servekit.cache.entries import CachePolicy, LocalEntry
from servekit.cache.local_tier import LocalTier
from servekit.cache.metrics import CacheStats
from servekit.process_memory import own_rss_bytes
from servekit.testing import patience
from tests.stores.workers import until, worker


def policy(kind: Any = int) -> CachePolicy:
    return CachePolicy("test", codec_of(kind), CacheStats(), ttl_seconds=60)


def put(tier: LocalTier, key: str, value: Any, *tags: str, kind: Any = int) -> LocalEntry:
    """Keep a value as a read from Redis does, the versions of its tags too."""
    fences = [tier.begin_read(key)]
    for tag in tags:
        fences.append(tier.begin_tag_read(tag))
        if tier.tag_version(tag) is None:
            tier.fill_tag(fences[-1], tag, b"12345678")
    made = policy(kind)
    entry, value = made.kept(value, tuple((tag, b"12345678") for tag in tags), 0)
    local = made.localize(entry, value)
    tier.fill(fences[0], local)
    for fence in fences:
        tier.end_read(fence)
    return local


SHAPES = {
    "long keys": lambda n: (f"{n}:" + "k" * 8000, n, (), int),
    "long keys beyond latin": lambda n: (f"{n}:" + "й" * 4000, n, (), int),
    "small values": lambda n: (f"product:{n}", n, (), int),
    "many tags": lambda n: (f"p:{n}", n, tuple(f"tag:{n}:{i}" for i in range(10)), int),
    "long tags": lambda n: (f"p:{n}", n, (f"{n}:" + "t" * 4000,), int),
    "empty lists": lambda n: (f"p:{n}", [[] for _ in range(500)], (), list),
    "objects": lambda n: (f"p:{n}", [{"a": i, "b": str(i)} for i in range(n, n + 50)], (), list),
    "numbers": lambda n: (f"p:{n}", [n + i + 0.5 for i in range(500)], (), list),
    "texts": lambda n: (f"p:{n}", f"{n}" + "x" * 5000, (), str),
    "texts beyond latin": lambda n: (f"p:{n}", f"{n}" + "x" * 5000 + "😀", (), str),
    "bytes": lambda n: (f"p:{n}", b"%d" % n + b"x" * 5000, (), bytes),
}
LIMIT = 16 * 2**20


def fill(shape: str) -> float:
    """Fill a tier three times over, and return how many times its bound it took of the process."""
    tier = LocalTier(LIMIT)
    tier.trust()
    written = number = 0
    for number in range(50):
        put(tier, *warm(shape, -number - 1))
    before = own_rss_bytes()
    while written < 3 * LIMIT:
        number += 1
        key, value, tags, kind = SHAPES[shape](number)
        written += put(tier, key, value, *tags, kind=kind).size
    assert LIMIT * 0.9 < tier.size_bytes <= LIMIT
    return (own_rss_bytes() - before) / LIMIT


def warm(shape: str, number: int) -> tuple[str, int]:
    return f"{shape}:{number}", 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.skipif(not own_rss_bytes(), reason="the kernel does not tell")
def test_the_bound_is_what_the_tier_takes_of_the_process(shape):
    program = f"from tests.cache.test_local_tier import fill; print(fill({shape!r}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert float(run.stdout) < 1.25


def test_ten_thousand_tags_and_more_are_no_cliff():
    tier = LocalTier(32 * 2**20)
    tier.trust()
    numbers = range(10_500)
    for number in numbers:
        put(tier, f"product:{number}", number, f"product:{number}", "all")

    codec = codec_of(int)
    assert all(tier.get_current(f"product:{number}", codec) for number in numbers)
    tier.invalidate_tag("product:7")
    assert [n for n in numbers if not tier.get_current(f"product:{n}", codec)] == [7]


def test_what_does_not_fit_drops_what_was_used_least_with_its_tags():
    tier = LocalTier(100_000)
    tier.trust()
    for number in range(1000):
        put(tier, f"product:{number}", number, f"product:{number}")
        assert tier.get_current("product:0", codec_of(int)), "it is read all the time"
    hits = [n for n in range(1000) if tier.get_current(f"product:{n}", codec_of(int))]
    assert hits[1:] == list(range(1000 - len(hits) + 1, 1000))
    assert len(hits) > 20


def test_a_tag_of_another_epoch_counts_for_nothing():
    tier = LocalTier(100_000)
    tier.trust()
    put(tier, "a", 1, "t")
    tier.distrust()
    assert not tier.get_current("a", codec_of(int))
    assert tier.tag_version("t") is None
    tier.trust()
    assert not tier.get_current("a", codec_of(int))
    assert tier.tag_version("t") is None
    assert tier.get_usable("a", codec_of(int))


def test_where_keys_may_move_nothing_is_kept_longer_than_that():
    tier = LocalTier(100_000, seconds_max=0.05)
    tier.trust()
    local = put(tier, "a", 1, "t")
    assert tier.get_current("a", codec_of(int))
    assert tier.tag_version("t") is None, "it is asked for with each read"
    assert local.hit_until <= local.local_until <= time.monotonic() + 0.05
    time.sleep(0.06)
    assert not tier.get_current("a", codec_of(int))


@pytest.mark.parametrize("way", ["set", "set_bytes", "set_many", "cached"])
async def test_no_worker_keeps_a_value_for_longer_than_its_writer_allows(redis_url, way):
    seconds: dict[str, Any] = {"ttl_seconds": 600, "local_ttl_seconds": 0.3}
    async with worker(redis_url) as a, worker(redis_url) as b:

        async def load(key: str) -> bytes:
            return b"1"

        function = a.cached("{key}", **seconds)(load)
        if way == "set":
            await a.set("a", b"1", **seconds)
        elif way == "set_bytes":
            await a.set_bytes("a", b"1", **seconds)
        elif way == "set_many":
            await a.set_many({"a": b"1"}, **seconds)
        else:
            await function("a")
        for cache in (a, b):
            await until(partial(_tier, cache, "local"))
            began = time.monotonic()
            await until(partial(_tier, cache, "redis"))
            assert time.monotonic() - began <= patience(0.4), "600 s before"


async def _tier(cache, tier):
    return (await cache.lookup_bytes("a")).tier == tier
