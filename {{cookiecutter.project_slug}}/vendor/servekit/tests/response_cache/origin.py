"""An application with a cached route, and workers that answer it from one cache."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import Depends, FastAPI, Request, Response
from starlette_compress import CompressMiddleware

from servekit.cache.cache import Cache
from servekit.response_cache.layer import ResponseCacheMiddleware, cache_response
from servekit.response_cache.view import VIEW_KEY
from servekit.testing import patience
from tests.asgi import routes_of
from tests.redis.patient import patient_clients

LONG = "text " * 500
DEFAULTS: dict[str, Any] = {"ttl_seconds": 30, "vary": ("query:*",)}


class Origin:
    """An application with one cacheable route, `/page`, whose answer a test sets.

    Each query is a page of its own.
    """

    def __init__(self, **options):
        self.app = FastAPI()
        self.runs = 0
        self.request_headers = []
        self.status = 200
        self.headers = {}
        self.body = LONG
        self.delay = 0.0
        self.error = None
        self.policy = cache_response(**(DEFAULTS | options))
        self.app.get("/page", dependencies=[Depends(self.policy)])(self.page)
        self.app.api_route("/page", methods=["POST", "PUT", "DELETE"])(self.write)

    async def page(self, request: Request) -> Response:
        self.runs += 1
        self.request_headers.append(headers_in_key(request))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        headers = {"content-type": "text/plain"} | self.headers
        return Response(self.body, self.status, headers=headers)

    async def write(self) -> Response:
        return Response(status_code=self.status)


def headers_in_key(request: Request) -> dict[str, str]:
    """Return what a run sees of the headers, without the run being heard to read them all."""
    shown = request.scope[VIEW_KEY].narrowed["headers"]
    return {name.decode(): value.decode() for name, value in shown}


class Client(httpx2.AsyncClient):
    """A client that knows the cache of its worker."""

    cache: Cache


@asynccontextmanager
async def caching(redis_url, app, *, wrap=lambda app: app):
    """The cache of a worker process around an application, compression inside."""
    clients = patient_clients(redis_url)
    async with clients, Cache(clients) as cache:
        async with asyncio.timeout(patience(5)):
            while not cache.coherent:  # noqa: ASYNC110 - Redis says when
                await asyncio.sleep(0.005)
        inside = CompressMiddleware(wrap(app))
        yield ResponseCacheMiddleware(inside, cache=cache, routes=routes_of(app)), cache


@asynccontextmanager
async def worker(redis_url, app, *, wrap=lambda app: app):
    """A client of a worker process."""
    async with caching(redis_url, app, wrap=wrap) as (layer, cache):
        transport = httpx2.ASGITransport(layer, raise_app_exceptions=False)
        headers = {"accept-encoding": "identity"}
        async with Client(
            transport=transport, base_url="http://shop.test", headers=headers
        ) as client:
            client.cache = cache
            yield client


def status_of(answer):
    return answer.headers.get("cache-status")


def is_hit(answer):
    return (status_of(answer) or "").startswith("service; hit")


async def until(condition, seconds=2.0):
    async with asyncio.timeout(patience(seconds)):
        while not await condition():  # noqa: ASYNC110 - polls another process's view
            await asyncio.sleep(0.01)
