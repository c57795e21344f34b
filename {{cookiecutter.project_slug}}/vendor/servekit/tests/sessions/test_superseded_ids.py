"""An id that a rotation or a login has replaced: what it may still write, and what not."""

import asyncio
from dataclasses import dataclass, replace

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings, strategies as st

from servekit.redis.clients import RedisClients
from servekit.sessions.cookie import SessionToken
from servekit.sessions.layer import SessionDep
from servekit.sessions.store import SessionStore
from tests.redis.patient import patient_clients
from tests.sessions.application import Service, cookie_of, logged_in

KEYS = ["key-of-the-tests"]


@dataclass(frozen=True)
class Model:
    """What a session is, in the words of its promise."""

    current: SessionToken
    previous: SessionToken | None = None
    user: str | None = None
    previous_user: str | None = None
    alive: bool = True

    def admits(self, token: SessionToken) -> bool:
        """Return whether an id may write: the newest, or the one before it, of the same user."""
        graced = token == self.previous and self.previous_user == self.user
        return self.alive and (token == self.current or graced)

    def renewed(self, token: SessionToken, user: str | None) -> "Model":
        return replace(
            self, current=token, previous=self.current, user=user, previous_user=self.user
        )


async def walk(clients: RedisClients, data: st.DataObject) -> None:
    store = SessionStore(clients, secret_keys=KEYS, local_bytes=0)
    first = await store.create({"field": b"0"})
    model, field = Model(first), b"0"
    held: list[tuple[SessionToken, str | None]] = [(first, None)]
    for turn in range(data.draw(st.integers(1, 12))):
        token, user = data.draw(st.sampled_from(held))
        step = data.draw(st.sampled_from(["write", "write", "rotate", "login", "end"]))
        if step == "write":
            text = b"%d" % turn
            written, is_current = await store.update(token, {"field": text})
            assert (written, is_current) == (
                model.admits(token),
                written and token == model.current,
            )
            field = text if written else field
        elif step in {"rotate", "login"}:
            who = "ada" if step == "login" else model.user
            new = await store.rotate(token, {}, user_id="ada" if step == "login" else None)
            assert (new is not None) == (model.alive and token == model.current)
            if new is not None:
                model = model.renewed(new, who)
                held.append((new, who))
        else:
            ends = model.alive and user == model.user
            await store.end(token.ref, user_id=user, reason="logout")
            model = replace(model, alive=model.alive and not ends)
        record = await store.read(model.current)
        assert (record is not None) == model.alive
        assert record is None or record.data == {"field": field}


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_the_newest_id_and_the_one_before_it_write_and_none_from_before_a_login(
    redis_url, data
):
    async def run():
        async with patient_clients(redis_url) as clients:
            await walk(clients, data)

    asyncio.run(run())


@pytest.fixture
async def service(redis_url):
    async with patient_clients(redis_url) as clients:
        yield Service(clients)


async def test_a_request_that_began_before_a_login_writes_nothing_into_the_users_session(service):
    """Whoever planted the id before a login could else write what the user then finds."""
    async with service.browser() as browser:
        await browser.put("/field/basket?value=7")
        planted = cookie_of(browser)
        slow = asyncio.create_task(service.with_cookie(planted, "/slow", "PUT"))
        await service.app.state.started.wait()
        await browser.post("/login/ada")
        service.app.state.proceed.set()
        answer = await slow

        assert "set-cookie" not in answer.headers
        assert (await browser.get("/field/slow")).json() is None
        assert (await browser.get("/field/basket")).json() == 7
    assert service.registry.get_sample_value("session_dropped_writes_total") == 1


@pytest.mark.parametrize("began_before", [True, False])
async def test_an_id_from_before_a_login_logs_nobody_out(service, began_before):
    app: FastAPI = service.app

    @app.post("/slow-logout")
    async def slow_logout(session: SessionDep) -> None:
        service.app.state.started.set()
        await service.app.state.proceed.wait()
        await session.logout()

    async with service.browser() as browser:
        await browser.put("/field/basket")
        planted = cookie_of(browser)
        if not began_before:
            await browser.post("/login/ada")
        slow = asyncio.create_task(service.with_cookie(planted, "/slow-logout", "POST"))
        await service.app.state.started.wait()
        if began_before:
            await browser.post("/login/ada")
        service.app.state.proceed.set()

        assert "set-cookie" not in (await slow).headers  # it would take the user's cookie away
        assert (await browser.get("/me")).json() == "ada"


async def test_an_id_whose_grace_is_over_writes_nothing(redis_url):
    async with patient_clients(redis_url) as clients:
        store = SessionStore(clients, secret_keys=KEYS, rotation_grace_seconds=0)
        old = await store.create({}, user_id="ada")
        assert await store.rotate(old, {})

        assert await store.update(old, {"field": b"1"}) == (False, False)


async def test_logging_out_with_the_id_before_a_rotation_still_ends_the_session(service):
    async with logged_in(service) as browser:
        old = cookie_of(browser)
        await browser.post("/elevate")
        await service.with_cookie(old, "/logout", "POST")

        assert (await browser.get("/me")).status_code == 401
