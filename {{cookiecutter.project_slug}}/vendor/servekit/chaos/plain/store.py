"""The same over redis-py with its defaults: values beside the source, sessions by id."""

import json
import os
import secrets
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel

from chaos.routes.source import Source

TTL_SECONDS = int(float(os.environ.get("CHAOS_TTL_SECONDS", "60")))

router = APIRouter(prefix="/chaos/store")
source = Source.of_environment()


def connect(url: str) -> Redis:
    """Return a client of a server, or of the primary that a sentinel names."""
    if not url.startswith("redis+sentinel://"):
        return Redis.from_url(url or "redis://127.0.0.1")
    address, _, service = url.removeprefix("redis+sentinel://").partition("/")
    host, _, port = address.partition(":")
    client: Redis = Sentinel([(host, int(port))]).master_for(service)
    return client


redis = connect(os.environ.get("REDIS_URL", ""))


def item(value: str | None, state: str = "") -> dict[str, Any]:
    """Return what every route of a value answers."""
    return {"pid": os.getpid(), "value": value, "state": state, "tier": "redis"}


@router.get("/items/{key}")
@router.get("/pages/{key}")
async def read_item(key: str) -> dict[str, Any]:
    """Read beside the source: what Redis lacks is loaded and kept."""
    found = await redis.get(f"item:{key}")
    if found is not None:
        return item(json.loads(found), "hit")
    value = await source.load(key)
    await redis.set(f"item:{key}", json.dumps(value), ex=TTL_SECONDS)
    return item(value, "miss")


@router.put("/items/{key}/{value}")
@router.put("/pages/{key}/{value}")
async def write_item(key: str, value: str) -> dict[str, Any]:
    """Write the source, and drop what Redis has."""
    source.write(key, value)
    await redis.delete(f"item:{key}")
    return item(value)


@router.post("/fill/{first}/{end}")
async def fill(first: int, end: int) -> None:
    """Keep many values for one time."""
    async with redis.pipeline() as pipeline:
        for number in range(first, end):
            pipeline.set(f"fill:{number}", number, ex=600)
        await pipeline.execute()


@router.get("/redis/{key}")
async def read_redis(key: str) -> dict[str, Any]:
    """Ask Redis."""
    value: Any = await redis.get(f"raw:{key}")
    return item(value and value.decode())


@router.put("/redis/{key}/{value}")
async def write_redis(key: str, value: str) -> dict[str, Any]:
    """Write to Redis."""
    await redis.set(f"raw:{key}", value)
    return item(value)


@router.post("/login/{user}")
async def log_in(user: str, response: Response) -> None:
    """Keep a session under a new id."""
    session = secrets.token_urlsafe()
    await redis.set(f"session:{session}", user, ex=600)
    response.set_cookie("dev-session", session)


@router.get("/me")
async def me(request: Request) -> dict[str, str]:
    """Answer who is logged in."""
    user: Any = await redis.get(f"session:{request.cookies.get('dev-session')}")
    if user is None:
        raise HTTPException(401)
    return {"user": user.decode()}


@router.get("/mine")
async def mine(request: Request) -> dict[str, str]:
    """Answer who asks: nothing is kept here."""
    return await me(request)


@router.get("/mirror")
async def mirror(request: Request) -> dict[str, str]:
    """Answer every header."""
    return dict(request.headers)


@router.get("/token")
@router.get("/greeting")
@router.get("/cookie")
async def who(request: Request) -> dict[str, str]:
    """Answer who asks, by Authorization or X-User."""
    authorization = request.headers.get("authorization", "").removeprefix("Bearer ")
    return {"user": authorization or request.headers.get("x-user", "")}
