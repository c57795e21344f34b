"""A service that is well: a bit of everything."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from servekit.cache import cached
from servekit.offload import ThreadsDep

if TYPE_CHECKING:
    from fastapi import FastAPI

    from servekit import Service


@cached("thing:{number}", ttl_seconds=5)
async def thing(number: int) -> dict[str, Any]:
    await asyncio.sleep(0.005)
    return {"number": number, "name": f"thing {number}"}


def install_well(app: FastAPI, service: Service) -> None:
    """Answer with a cached value, after a command of Redis, a call in a thread and some work."""
    asked = 0

    @app.get("/")
    async def index(threads: ThreadsDep) -> list[dict[str, Any]]:
        nonlocal asked
        asked += 1
        await service.redis.cache.get("nothing")
        await threads.run(time.sleep, 0.001)
        return [await thing((asked + number) % 20) for number in range(5)]
