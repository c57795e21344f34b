"""What a hit of the cache costs in process: local, in a large tier, in Redis, and as a page."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import uvloop
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis
from starlette.types import Message

from servekit.cache import Cache, cache_response
from servekit.redis.clients import RedisClients
from servekit.redis.embedded import EmbeddedServer
from servekit.response_cache.layer import ResponseCacheMiddleware
from servekit.routing.routes import read_routes

SMALL, LARGE = 10, 100_000
CHUNK = 1000
QUERY_SECONDS = 0.45

Call = Callable[[int], Awaitable[object]]


class Product(BaseModel, frozen=True):
    """What is cached."""

    id: int
    name: str
    price: float
    tags: list[str]


@dataclass(frozen=True)
class Row:
    """One measured cost, in microseconds, and what it is held against."""

    case: str
    us: float
    against: str
    ratio: float
    goal: str
    met: bool


async def cost(call: Call, numbers: range, *, calls: int, rounds: int) -> float:
    """Return the microseconds of a call, the least disturbed of so many rounds."""
    picked = [numbers[(n * 7919) % len(numbers)] for n in range(calls)]
    best = float("inf")
    for _ in range(rounds):
        began = perf_counter()
        for number in picked:
            await call(number)
        best = min(best, (perf_counter() - began) / calls * 1e6)
    return best


async def settled(cache: Cache, call: Call, numbers: range) -> None:
    """Call until every value is in the local tier."""
    while not cache.coherent:  # noqa: ASYNC110 - Redis says when
        await asyncio.sleep(0.01)
    for _ in range(2):  # the invalidation of a load drops it once, and it is read back
        for start in range(0, len(numbers), CHUNK):
            await asyncio.gather(*map(call, numbers[start : start + CHUNK]))
        await asyncio.sleep(0.2)


def made(number: int) -> Product:
    """Return a product of usual size."""
    return Product(id=number, name=f"Product {number}", price=9.99, tags=["a", "b"])


def products(cache: Cache, *, seconds: float = 0) -> Any:
    """Return a cached function whose source takes `seconds`."""

    @cache.cached("product:{number}", ttl_seconds=3600)
    async def product(number: int) -> Product:
        if seconds:
            await asyncio.sleep(seconds)
        return made(number)

    return product


def page_of(cache: Cache) -> Call:
    """Return a call of a page through the response cache, the ASGI frame included."""
    app = FastAPI(openapi_url=None)

    @app.get("/products", dependencies=[Depends(cache_response(ttl_seconds=3600))])
    async def read_products(page: int = 1) -> list[Product]:
        return [Product(id=n, name=str(page), price=1, tags=[]) for n in range(20)]

    routes = read_routes(app)
    layer = ResponseCacheMiddleware(app, cache=cache, routes=lambda: routes)
    headers = [(b"host", b"localhost"), (b"accept-encoding", b"gzip, br")]
    common = {"type": "http", "method": "GET", "scheme": "http", "path": "/products"}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        pass

    async def call(number: int) -> None:
        query = f"page={number}".encode()
        scope = {**common, "raw_path": b"/products", "query_string": query, "headers": headers}
        await layer(scope, receive, send)

    return call


async def measure(url: str, *, calls: int, rounds: int) -> list[Row]:
    """Return all rows; those beside each other are measured in the same process."""
    timing = {"calls": calls, "rounds": rounds}
    async with RedisClients(url) as clients:
        async with Cache(clients, prefix="small") as cache:
            product = products(cache)
            await settled(cache, product, range(SMALL))
            small = await cost(product, range(SMALL), **timing)
            page = page_of(cache)
            await settled(cache, page, range(SMALL))
            paged = await cost(page, range(SMALL), **timing)
        async with Cache(clients, prefix="large", local_bytes=2**30) as cache:
            product = products(cache)
            for start in range(0, LARGE, CHUNK):
                values = {f"product:{n}": made(n) for n in range(start, start + CHUNK)}
                await cache.set_many(values, ttl_seconds=3600)
            await settled(cache, product, range(LARGE))
            large = await cost(product, range(SMALL), **timing)
            spread = await cost(product, range(LARGE), **timing)
        async with Cache(clients, prefix="redis", local_bytes=0) as cache:
            product = products(cache)
            await settled(cache, product, range(SMALL))
            remote = await cost(product, range(SMALL), calls=calls // 10, rounds=rounds)
        async with Cache(clients, prefix="slow") as cache:
            product = products(cache, seconds=QUERY_SECONDS)
            await settled(cache, product, range(1))
            slow = await cost(product, range(1), **timing)
    async with Redis.from_url(url) as plain:
        await plain.set("plain", "x" * 80)
        bare = await cost(lambda _: plain.get("plain"), range(1), calls=calls // 10, rounds=rounds)
    return [
        Row("local hit", small, "2 us", small / 2, "<= 1", small <= 2),  # noqa: PLR2004
        Row(f"local hit among {LARGE:,}", large, f"among {SMALL}", large / small, "<= 1.2",
            large <= 1.2 * small),
        Row("the same, all in turn", spread, f"among {SMALL}", spread / small, "-", True),
        Row("hit in Redis", remote, "GET of redis-py", remote / bare, "-", True),
        Row("hit before a 450 ms query", slow, "1 ms", slow / 1e3, "<= 1", slow <= 1e3),  # noqa: PLR2004
        Row("page, its layer alone", paged, "local hit", paged / small, "-", True),
    ]  # fmt: skip


def main() -> None:
    """Measure and print a table, and JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of a round (20,000)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each case (9)")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    with EmbeddedServer() as redis:
        rows = uvloop.run(measure(redis.url, calls=options.calls, rounds=options.rounds))
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(f"{'in process':30} {'us':>9}  {'against':16} {'ratio':>8} {'goal':>8}")
    for row in rows:
        verdict = "" if row.met else "  missed"
        print(
            f"{row.case:30} {row.us:9,.2f}  {row.against:16} {row.ratio:8.3f} "
            f"{row.goal:>8}{verdict}"
        )


if __name__ == "__main__":
    main()
