"""Routes of the service over its cache, its Redis clients and its sessions."""

import itertools
import os
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from pydantic import BaseModel

from chaos.routes.source import Source
from servekit import ServiceDep
from servekit.cache import Cache, cache_response
from servekit.sessions import SessionDep, UserSessionDep
from servekit.sessions.layer import load_session

TTL_SECONDS = float(os.environ.get("CHAOS_TTL_SECONDS", "60"))
STALE_SECONDS = float(os.environ.get("CHAOS_STALE_SECONDS", "60"))
NEGATIVE_SECONDS = float(os.environ.get("CHAOS_NEGATIVE_SECONDS", "2"))


class Item(BaseModel):
    """A value, the process that answered, and where it had the value from."""

    pid: int
    value: str | None
    state: str = ""
    tier: str = ""


def install(app: FastAPI, cache: Cache) -> None:
    """Add the routes to the application."""
    app.include_router(items(cache))
    app.include_router(pages())
    app.include_router(answers())
    app.include_router(sessions())


def items(cache: Cache) -> APIRouter:
    """Return the routes of single values: through the cache, and straight to Redis."""
    router, source = APIRouter(prefix="/chaos/store"), Source.of_environment()
    cached = cache.cached(
        "item:{key}",
        ttl_seconds=TTL_SECONDS,
        stale_seconds=STALE_SECONDS,
        negative_ttl_seconds=NEGATIVE_SECONDS,
        jitter=0,
    )(source.load)

    @router.get("/items/{key}")
    async def read_item(key: str) -> Item:
        found = await cached.lookup(key)
        return Item(pid=os.getpid(), value=found.value, state=found.state, tier=found.tier)

    @router.put("/items/{key}/{value}")
    async def write_item(key: str, value: str) -> Item:
        source.write(key, value)
        await cached.set(value, key)
        return Item(pid=os.getpid(), value=value)

    @router.post("/fill/{first}/{end}")
    async def fill(first: int, end: int) -> None:
        for number in range(first, end):
            await spread.set(str(number), number)

    @cache.cached("fill:{number}", ttl_seconds=600)
    async def spread(number: int) -> str:
        return str(number)

    @router.get("/redis/{key}")
    async def read_redis(key: str, service: ServiceDep) -> Item:
        # The pool of sessions is the one that tries again.
        value: Any = await service.redis.sessions.get(f"raw:{key}")
        return Item(pid=os.getpid(), value=value and value.decode())

    @router.put("/redis/{key}/{value}")
    async def write_redis(key: str, value: str, service: ServiceDep) -> Item:
        await service.redis.sessions.set(f"raw:{key}", value)
        return Item(pid=os.getpid(), value=value)

    return router


def pages() -> APIRouter:
    """Return routes whose answers the response cache may keep."""
    router, source = APIRouter(prefix="/chaos/store"), Source.of_environment()
    kept = cache_response(ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS)
    of_each_query = cache_response(ttl_seconds=TTL_SECONDS, vary=("query:*",))

    @router.get("/pages/{key}", dependencies=[Depends(kept)])
    async def read_page(key: str) -> Item:
        return Item(pid=os.getpid(), value=await source.load(key))

    @router.put("/pages/{key}/{value}")
    async def write_page(key: str, value: str) -> Item:
        source.write(key, value)
        return Item(pid=os.getpid(), value=value)

    @router.get("/mirror", dependencies=[Depends(of_each_query)])
    async def mirror(request: Request) -> dict[str, str]:
        """Answer every header that the route sees: whatever shows here could poison the cache."""
        return dict(request.headers)

    @router.get("/mine", dependencies=[Depends(kept)])
    async def mine(request: Request) -> dict[str, str | None]:
        """Answer who asks, on a route that was declared cacheable by mistake."""
        # By hand: a declared session is refused at the start.
        return {"user": (await load_session(request)).user_id}

    @router.get("/greeting", dependencies=[Depends(kept)])
    async def greeting(x_user: Annotated[str, Header()] = "") -> dict[str, str]:
        """Answer a header that is part of the key."""
        return {"user": x_user}

    @router.get("/token", dependencies=[Depends(kept)])
    async def token(authorization: Annotated[str, Header()] = "") -> dict[str, str]:
        """Answer who asks, by Authorization."""
        return {"user": authorization.removeprefix("Bearer ")}

    @router.get("/cookie", dependencies=[Depends(kept)])
    async def cookie(response: Response, x_user: Annotated[str, Header()] = "") -> dict[str, str]:
        """Set a cookie of one user."""
        response.set_cookie("visitor", x_user)
        return {"user": x_user}

    return router


def sessions() -> APIRouter:
    """Return a login without a password, and a route that needs it."""
    router = APIRouter(prefix="/chaos/store")

    @router.post("/login/{user}")
    async def log_in(user: str, session: SessionDep) -> None:
        await session.login(user)

    @router.get("/me")
    async def me(session: UserSessionDep) -> dict[str, str]:
        return {"user": session.user}

    return router


def answers() -> APIRouter:
    """Return a route that answers whatever its query says, once through the response cache."""
    router = APIRouter(prefix="/chaos/store")
    kept = cache_response(
        ttl_seconds=60, negative_ttl_seconds=5, cdn_seconds=300, vary=("query:*", "x-lang")
    )
    runs = itertools.count(1)

    async def answer(request: Request, status: int = 200, size: int = 0) -> Response:
        """Answer `status` with a header field for each further parameter, and a number anew."""
        text = f"{next(runs)}-{os.getpid()}" + "x" * size
        response = Response(text, status, media_type="text/plain")
        for name, value in request.query_params.multi_items():
            if name not in {"status", "size", "case"}:
                response.headers.append(name, value)
        return response

    router.get("/answer", dependencies=[Depends(kept)])(answer)
    router.api_route("/answer", methods=["POST", "PUT", "PATCH", "DELETE"])(answer)
    return router
