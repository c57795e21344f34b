"""An application with a service, asked as clients do, and a middleware that reads all it can."""

from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import Depends

from servekit.cache import cache_response
from servekit.testing.lifespan import Lifespan

KEPT = Depends(cache_response(ttl_seconds=60))


@asynccontextmanager
async def client_of(app):
    async with Lifespan(app) as running:
        transport = httpx2.ASGITransport(running, client=("192.0.2.7", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="https://testserver") as client:
            yield client


def is_hit(answer):
    return "hit" in answer.headers["cache-status"]


def not_cached(logs):
    return [entry for entry in logs if entry["event"] == "response_not_cached"]


class AccessLog:
    """Reads by hand what a request has, as access logs do."""

    lines: list[Any]

    def __init__(self, app, *, lines):
        self.app = app
        self.lines = lines

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        agent = dict(scope["headers"]).get(b"user-agent")

        async def noting(message):
            if message["type"] == "http.response.start":
                query = scope["query_string"].decode()
                client = scope["client"][0]
                self.lines.append((scope["path"], query, client, agent, message["status"]))
            await send(message)

        await self.app(scope, receive, noting)
