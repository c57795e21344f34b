"""Around pages, middleware of the application's own commits late, rewrites and passes on."""

from typing import Annotated

import pytest
from fastapi import FastAPI, Header, Request

from servekit import Service
from tests.response_cache.around import KEPT, AccessLog, client_of, is_hit


@pytest.fixture
def app(settings) -> FastAPI:
    app = FastAPI()
    Service(settings).install(app)
    return app


async def test_a_write_that_a_middleware_commits_after_its_answer_ends_the_page(app: FastAPI):
    value = ["old"]

    class CommitLate:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            if scope["type"] == "http" and scope["method"] == "PUT":
                value[0] = "new"

    app.add_middleware(CommitLate)

    @app.get("/page", dependencies=[KEPT])
    async def page() -> str:
        return value[0]

    @app.put("/page")
    async def write() -> None: ...

    async with client_of(app) as client:
        assert (await client.get("/page")).json() == "old"
        await client.put("/page")
        assert (await client.get("/page")).json() == "new"


async def test_paths_that_a_middleware_rewrites_are_pages_of_their_own_and_end_by_writes(
    app: FastAPI,
):
    value = {"a": 0, "b": 0}

    class Tenants:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                tenant = dict(scope["headers"])[b"x-tenant"].decode()
                scope = {**scope, "path": f"/of/{tenant}{scope['path']}"}
            await self.app(scope, receive, send)

    app.add_middleware(Tenants)

    @app.get("/of/{tenant}/page", dependencies=[KEPT])
    async def page(tenant: str) -> int:
        return value[tenant]

    @app.put("/of/{tenant}/page")
    async def write(tenant: str) -> None:
        value[tenant] += 1

    async with client_of(app) as client:
        for tenant, hit in (("a", False), ("b", False), ("a", True)):
            assert is_hit(await client.get("/page", headers={"x-tenant": tenant})) == hit
        await client.put("/page", headers={"x-tenant": "a"})
        answers = [await client.get("/page", headers={"x-tenant": tenant}) for tenant in "ab"]

    assert [answer.json() for answer in answers] == [1, 0]
    assert [is_hit(answer) for answer in answers] == [False, True]


@pytest.mark.parametrize("own", [False, True])
async def test_a_get_with_a_body_runs_its_route_with_it(app: FastAPI, own: bool):
    if own:
        app.add_middleware(AccessLog, lines=[])

    @app.get("/page", dependencies=[KEPT])
    async def page(request: Request, x_lang: Annotated[str, Header()] = "en") -> str:
        return (await request.body()).decode() + x_lang

    async with client_of(app) as client:
        for content, expected in ((b"", "en"), (b"one ", "one en"), (b"two ", "two en")):
            answer = await client.request("GET", "/page", content=content)
            assert answer.json() == expected
        assert is_hit(await client.request("GET", "/page", headers={"content-length": "0"}))
