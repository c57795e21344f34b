"""A write ends the pages of its path, however the write ends and however the path is spelled."""

import asyncio
from enum import StrEnum
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI, HTTPException, Response

from servekit.layers.deadline import DeadlineMiddleware, deadline
from servekit.layers.errors import ErrorsMiddleware
from servekit.layers.root_path import RootPathMiddleware
from servekit.response_cache.layer import cache_response
from tests.asgi import call
from tests.response_cache.origin import caching, is_hit, worker


class Shelf:
    """A page that shows what is stored, and a write of every end."""

    def __init__(self):
        self.app = FastAPI()
        self.stored = "old"
        policy = cache_response(ttl_seconds=60, stale_seconds=60)
        self.app.get("/page", dependencies=[Depends(policy)])(self.page)
        self.app.api_route("/page", methods=["PUT", "POST", "PATCH", "DELETE"])(self.write)
        self.app.put("/page/late", dependencies=[Depends(self.commit_late)])(self.nothing)

    async def page(self) -> str:
        return self.stored

    async def nothing(self) -> None: ...

    async def commit_late(self):
        yield
        self.stored = "new"

    async def write(self, outcome: str) -> Response:
        self.stored = "new"
        if outcome == "raises":
            raise ValueError(outcome)
        if outcome == "refuses":
            raise HTTPException(409)
        if outcome == "times out":
            await asyncio.Event().wait()
        if outcome == "is cancelled":
            raise asyncio.CancelledError
        return Response(status_code=int(outcome))


OUTCOMES = [
    *("200", "201", "204", "303", "400", "404", "409", "422", "500", "503"),
    *("raises", "refuses", "times out", "is cancelled"),
]


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_what_was_committed_is_shown_whatever_became_of_the_write(redis_url, method, outcome):
    shelf = Shelf()
    async with (
        caching(redis_url, shelf.app) as (layer, _),
        caching(redis_url, shelf.app) as (
            other,
            _,
        ),
    ):
        outer = ErrorsMiddleware(DeadlineMiddleware(layer, seconds=0.3))
        for one in (layer, other):
            assert (await call(one, "/page")).body == b'"old"'
        try:
            query = f"outcome={outcome}".replace(" ", "%20").encode()
            await call(outer, "/page", method, query_string=query)
        except (asyncio.CancelledError, ValueError):
            assert outcome in {"is cancelled", "raises"}
        else:
            assert outcome not in {"is cancelled", "raises"}

        assert (await call(layer, "/page")).body == b'"new"'


async def test_a_commit_after_the_answer_ends_what_was_read_in_between(redis_url):
    app, stored, seen = FastAPI(), ["old"], []

    async def transaction():
        yield
        seen.append((await client.get("/page")).json())  # somebody reads before the commit
        stored[0] = "new"

    @app.get("/page", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def page() -> str:
        return stored[0]

    @app.put("/page", dependencies=[Depends(transaction)])
    async def write() -> None: ...

    async with worker(redis_url, app) as client:
        await client.put("/page")

        assert seen == ["old"]
        assert (await client.get("/page")).json() == "new"


async def test_a_deadline_of_the_route_is_no_exception(redis_url):
    app, stored = FastAPI(), ["old"]

    @app.get("/page", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def page() -> str:
        return stored[0]

    @app.put("/page", dependencies=[Depends(deadline(0.05))])
    async def write() -> None:
        stored[0] = "new"
        await asyncio.Event().wait()

    async with caching(redis_url, app) as (layer, _):
        outer = DeadlineMiddleware(layer)
        await call(outer, "/page")
        assert (await call(outer, "/page", "PUT")).status == 504
        assert (await call(outer, "/page")).body == b'"new"'


@pytest.mark.parametrize("method", ["PUT", "POST", "OPTIONS", "HEAD", "TRACE", "BREW"])
async def test_what_runs_nothing_ends_nothing(redis_url, method):
    app = FastAPI()

    @app.get("/page", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def page() -> str:
        return "page"

    async with worker(redis_url, app) as client:
        await client.get("/page")
        await client.request(method, "/page")

        assert is_hit(await client.get("/page"))


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        (int, ["7", "07", "+7", "%37", "%2B7", "007"]),
        (float, ["1.5", "1.50", "01.5"]),
        (bool, ["true", "1", "on", "True"]),
        (
            UUID,
            [
                "0b9c1f0e-7d9a-4ac0-9d7e-111111111111",
                "0B9C1F0E-7D9A-4AC0-9D7E-111111111111",
                "0b9c1f0e7d9a4ac09d7e111111111111",
            ],
        ),
        (Colour, ["red", "%72ed"]),
        (str, ["a b", "a%20b", "%61%20b"]),
    ],
)
@pytest.mark.parametrize("by", ["path", "tag"])
@pytest.mark.parametrize("mounted", [False, True])
async def test_all_spellings_of_a_path_end_together(redis_url, kind, spellings, by, mounted):
    app = inner = FastAPI()
    stored = ["old"]
    policy = cache_response(ttl_seconds=60, tags=("page:{key}",))
    values = []

    @inner.get("/p/{key}", dependencies=[Depends(policy)])
    async def page(key: kind) -> str:  # type: ignore[valid-type] # of the test's choice
        values.append(key)
        return stored[0]

    @inner.put("/p/{key}")
    async def write(key: kind) -> None:  # type: ignore[valid-type] # of the test's choice
        values.append(key)

    if mounted:
        app = FastAPI()
        app.mount("/in", inner)
    prefix = "/in" if mounted else ""
    async with worker(redis_url, app) as client:
        for spelling in spellings:
            stored[0] = "old"
            for other in spellings:
                assert (await client.get(f"{prefix}/p/{other}")).json() == "old"
            stored[0] = "new"
            if by == "path":
                assert (await client.put(f"{prefix}/p/{spelling}")).status_code == 200
            else:
                await client.cache.invalidate_tag(f"page:{values[-1]}")
            texts = [(await client.get(f"{prefix}/p/{other}")).json() for other in spellings]
            assert texts == ["new"] * len(spellings)
            await client.cache.delete_pattern("http:*")


PREFIXES = ["", "/shop", "/other"]


@pytest.mark.parametrize("mounted", [False, True])
async def test_a_write_ends_the_pages_that_were_read_behind_any_prefix(redis_url, mounted):
    app = inner = FastAPI()
    stored = ["old"]

    @inner.get("/p/{key}", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def page(key: int) -> str:
        return f"{stored[0]} {key}"

    @inner.put("/p/{key}")
    async def write(key: int) -> None: ...

    if mounted:
        app = FastAPI()
        app.mount("/in", inner)
    path = "/in/p/7" if mounted else "/p/7"
    async with caching(redis_url, app) as (layer, _):
        front = RootPathMiddleware(layer, hops=1)

        async def ask(prefix: str, method: str = "GET") -> bytes:
            headers = [("x-forwarded-prefix", prefix)] if prefix else []
            answer = await call(front, path, method=method, headers=headers)
            assert answer.status == 200
            return answer.body

        for writer in PREFIXES:
            stored[0] = "old"
            assert {await ask(prefix) for prefix in PREFIXES} == {b'"old 7"'}
            stored[0] = "new"
            await ask(writer, "PUT")
            assert {await ask(prefix) for prefix in PREFIXES} == {b'"new 7"'}
            stored[0] = "old"
            await ask("", "PUT")
