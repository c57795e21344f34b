"""Wherever a session is written: it is stored, or an error says why not; it never just vanishes."""

import asyncio
import itertools
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket
from structlog.testing import capture_logs

from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.sessions import Session, SessionDep, SessionEnded
from tests.redis.patient import patient_clients
from tests.sessions.application import Service, cookie_of, logged_in
from tests.sessions.writers import (
    HTTP_AFTER,
    HTTP_BEFORE,
    WEBSOCKET,
    Writer,
    add_routes_that_write_after,
    add_routes_that_write_before,
    add_websockets_that_write,
    handshake,
)

VISITORS = ["user", "anonymous", "nobody"]
WAYS = ["assign", "save", "delete"]
CAN_SET_COOKIES = {*HTTP_BEFORE, "before accept"}


@pytest.fixture
async def service(redis_url):
    async with patient_clients(redis_url) as clients:
        yield Service(clients)


async def visit(service: Service, visitor: str, place: str) -> dict[str, Any]:
    """Go to a place, then tell what the session of the visitor holds."""
    async with service.browser() as browser:
        if visitor == "user":
            await browser.post("/login/ada")
        if visitor != "nobody":
            await browser.put("/field/old")
        if place in WEBSOCKET:
            cookie = f"__Host-session={cookie_of(browser)}" if visitor != "nobody" else ""
            _, cookie = await handshake(service.asgi, "/" + place, cookie)
            browser.cookies.clear()
            browser.headers["cookie"] = cookie
        else:
            assert (await browser.get("/" + place)).status_code == 200
        return {name: (await browser.get(f"/field/{name}")).json() for name in ("old", "new")}


@pytest.mark.parametrize("place", HTTP_BEFORE + HTTP_AFTER + WEBSOCKET)
@pytest.mark.parametrize(("visitor", "way"), list(itertools.product(VISITORS, WAYS)))
async def test_a_write_is_stored_or_an_error_says_why_not(service, place, visitor, way):
    writer = Writer(way)
    add_routes_that_write_before(service.app, writer)
    add_routes_that_write_after(service.app, writer)
    add_websockets_that_write(service.app, writer)
    with capture_logs() as logged:
        kept = await visit(service, visitor, place)
        await asyncio.gather(*writer.tasks)

    old = None if visitor == "nobody" or way == "delete" else 1
    stored = kept == {"old": old, "new": None if way == "delete" else 1}
    lost = [each for each in logged if each["event"] == "session_write_lost"]
    assert stored != bool(writer.errors or lost) or (way == "delete" and visitor == "nobody")
    if place != "task that outlives the request":
        assert stored or (visitor == "nobody" and place not in CAN_SET_COOKIES)


@pytest.mark.parametrize("how", ["login", "rotate"])
async def test_what_needs_a_new_cookie_is_an_error_once_it_cannot_be_sent(service, how):
    errors: list[Exception] = []

    async def change(session: Session) -> None:
        try:
            await (session.login("eve") if how == "login" else session.rotate())
        except RuntimeError as error:
            errors.append(error)

    app: FastAPI = service.app

    @app.get("/late")
    async def late(session: SessionDep, tasks: BackgroundTasks) -> None:
        tasks.add_task(change, session)

    async with logged_in(service) as browser:
        await browser.get("/late")
        assert (await browser.get("/me")).json() == "ada"
    assert "The answer has begun" in str(errors[0])


async def test_a_late_logout_ends_the_session(service):
    app: FastAPI = service.app

    @app.get("/late")
    async def late(session: SessionDep, tasks: BackgroundTasks) -> None:
        tasks.add_task(session.logout)

    async with logged_in(service) as browser:
        await browser.get("/late")
        assert (await browser.get("/me")).status_code == 401


async def test_what_is_saved_in_a_websocket_is_there_while_it_is_open(service):
    async with logged_in(service) as browser:
        seen: list[object] = []

        app: FastAPI = service.app

        @app.websocket("/ws")
        async def ws(websocket: WebSocket, session: SessionDep) -> None:
            await websocket.accept()
            session["seen"] = 1
            await session.save()
            seen.append((await browser.get("/field/seen")).json())
            await browser.post("/logout")
            session["seen"] = 2
            with pytest.raises(SessionEnded):
                await session.save()

        await handshake(service.asgi, "/ws", f"__Host-session={cookie_of(browser)}")
    assert seen == [1]


async def test_saves_that_overlap_leave_the_last_one(service):
    app: FastAPI = service.app

    @app.get("/overlap")
    async def overlap(session: SessionDep) -> None:
        saves = []
        for number in range(20):
            session["number"] = number
            saves.append(asyncio.create_task(session.save()))
            await asyncio.sleep(0)
        await asyncio.gather(*saves)

    async with logged_in(service) as browser:
        await browser.get("/overlap")
        assert (await browser.get("/field/number")).json() == 19


async def test_a_late_write_to_a_dead_redis_is_an_error_in_the_log(service, monkeypatch):
    async def refuse(*_: object) -> None:
        raise StoreUnavailable("down")

    app: FastAPI = service.app

    @app.get("/late")
    async def late(session: SessionDep, tasks: BackgroundTasks) -> None:
        async def write() -> None:
            monkeypatch.setattr(service.store, "update", refuse)
            session["late"] = 1

        tasks.add_task(write)

    async with logged_in(service) as browser:
        with capture_logs() as logged:
            assert (await browser.get("/late")).status_code == 200
    [record] = [each for each in logged if each["event"] == "session_write_lost"]
    assert (record["log_level"], record["reason"], record["fields"]) == ("error", "down", ["late"])


async def test_a_handshake_whose_session_cannot_be_kept_is_refused():
    async with RedisClients("redis://127.0.0.1:1") as dead:
        service = Service(dead)
        add_websockets_that_write(service.app, Writer("assign"))
        sent, _ = await handshake(service.asgi, "/before accept", "")

    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 503)


async def test_the_cookie_goes_with_the_handshake(service):
    add_websockets_that_write(service.app, Writer("assign"))
    sent, _ = await handshake(service.asgi, "/before accept", "")

    assert sent[0]["type"] == "websocket.accept"
    assert [name for name, _ in sent[0]["headers"]] == [b"set-cookie"]
