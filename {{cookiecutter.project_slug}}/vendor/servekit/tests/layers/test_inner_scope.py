"""Middleware that passes on a scope of its own: who is outside of it still knows the route."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from servekit import Service, Settings, deadline
from servekit.testing.lifespan import Lifespan

NAME = "http_server_request_duration_seconds_count"
router = APIRouter(prefix="/shop")


@router.get("/products/{number}")
async def product(number: int) -> int:
    return number


@router.get("/late/{number}", dependencies=[Depends(deadline(0.01))])
async def late(number: int) -> None:
    await asyncio.sleep(10)


@router.get("/broken/{number}")
async def broken(number: int) -> None:
    raise RuntimeError


async def direct(number: int) -> int:
    return number


class Same:
    """Passes on what it got."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Copying(Same):
    """Passes on a copy."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "tenant": "a"}, receive, send)


class Forgetting(Same):
    """Passes on what ASGI names, and nothing else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = {name: value for name, value in scope.items() if not name.startswith("servekit")}
        await self.app(known, receive, send)


class Rewriting(Same):
    """Takes a prefix away."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "path": scope.get("path", "").removeprefix("/v1")}, receive, send)


Told = tuple[set[str], list[Any]]


async def routes_of(make_settings, path: str, *middleware: type[Same]) -> Told:
    """Return the routes that a request was counted for, and what the log says."""
    service = Service(make_settings(Settings))
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)
    inner = FastAPI()
    for each in (app, inner):
        each.include_router(router)
        each.add_api_route("/direct/{number}", direct)
    app.mount("/inner", inner)
    for cls in middleware:
        app.add_middleware(cls)
    with capture_logs() as logs:
        async with Lifespan(app) as serve:
            transport = httpx2.ASGITransport(serve, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as own:
                await own.get(path)
            await asyncio.sleep(0)
    samples = [
        sample
        for family in service.registry.collect()
        for sample in family.samples
        if sample.name == NAME and sample.value
    ]
    return {sample.labels["route"] for sample in samples}, logs


PATHS = {
    "/shop/products/1": "/shop/products/{number}",
    "/direct/1": "/direct/{number}",
    "/inner/shop/products/1": "/inner/shop/products/{number}",
    "/inner/direct/1": "/inner/direct/{number}",
    "/shop/late/1": "/shop/late/{number}",
    "/shop/broken/1": "/shop/broken/{number}",
    "/nowhere": "",
}


@pytest.mark.parametrize("middleware", [(), (Same,), (Copying,), (Copying, Same, Copying)])
@pytest.mark.parametrize("path", PATHS)
async def test_a_request_is_counted_for_its_route_whatever_middleware_passes_on(
    make_settings, path, middleware
):
    routes, _ = await routes_of(make_settings, path, *middleware)
    assert routes == {PATHS[path]}


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_middleware_rewrites_is_counted_for_what_answered(make_settings, path):
    routes, _ = await routes_of(make_settings, f"/v1{path}", Rewriting)
    assert routes == {PATHS[path]}


@pytest.mark.parametrize(
    ("path", "event"),
    [("/shop/late/1", "request_deadline_exceeded"), ("/shop/broken/1", "unhandled_exception")],
)
async def test_what_goes_wrong_is_logged_with_the_route(make_settings, path, event):
    _, logs = await routes_of(make_settings, path, Copying)
    assert [line["route"] for line in logs if line["event"] == event] == [PATHS[path]]


async def test_middleware_that_drops_what_it_does_not_know_breaks_nothing(make_settings):
    routes, logs = await routes_of(make_settings, "/shop/products/1", Forgetting)
    assert routes == {""}
    assert not [line for line in logs if line["log_level"] == "error"]
