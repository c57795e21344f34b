"""What a session promises to the routes, and the browsers, of an application."""

import asyncio

import pytest
import redis.asyncio
from fastapi import FastAPI

from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.sessions.cookie import SessionCookie
from servekit.sessions.layer import SessionDep
from servekit.sessions.session import Session
from servekit.sessions.store import SessionStore
from tests.sessions.application import NEW, Service, cookie_of, keys, logged_in


async def test_routes_that_do_not_touch_the_session_cost_and_change_nothing():
    async with RedisClients("redis://127.0.0.1:1") as clients:
        service = Service(clients)
        async with service.browser(cookie="__Host-session=" + "x" * 108) as browser:
            answer = await browser.get("/untouched")

    assert answer.status_code == 200
    assert not {"set-cookie", "cache-control", "vary"} & set(answer.headers)
    assert service.registry.get_sample_value("session_rejected_cookies_total") == 0


async def test_anonymous_requests_create_no_keys(service):
    async with service.browser() as browser:
        answers = [await browser.get("/field/basket") for _ in range(50)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert await keys(service) == 0


async def test_an_answer_that_read_the_session_is_not_to_be_cached(service):
    async with service.browser() as browser:
        answer = await browser.get("/field/basket")

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "Cookie"


async def test_the_first_write_creates_a_session_and_login_keeps_what_is_in_it(service):
    async with service.browser() as browser:
        answer = await browser.put("/field/basket?value=7")
        assert "set-cookie" in answer.headers
        await browser.post("/login/ada")
        assert (await browser.get("/field/basket")).json() == 7
        assert (await browser.get("/me")).json() == "ada"


async def test_development_over_http_has_a_plain_cookie(clients):
    async with Service(clients, secure=False).browser() as browser:
        answer = await browser.post("/login/ada")

    assert answer.headers["set-cookie"].startswith("dev-session=")
    assert "Secure" not in answer.headers["set-cookie"]


async def test_a_logout_ends_the_session_and_clears_the_browser(service):
    async with logged_in(service) as browser:
        cookie = cookie_of(browser)
        answer = await browser.post("/logout")

        assert "clear-site-data" not in answer.headers  # it would log out of sibling hosts too
        assert answer.headers["cache-control"] == "no-store"
        assert "__Host-session" not in browser.cookies
    assert (await service.with_cookie(cookie)).status_code == 401
    assert await keys(service) == 0


async def test_a_logout_clears_more_of_the_browser_where_that_is_set(clients):
    service = Service(clients, clear_site_data=["cache", "storage"])
    async with logged_in(service) as browser:
        answer = await browser.post("/logout")

    assert answer.headers["clear-site-data"] == '"cache", "storage"'


async def test_fifty_parallel_writes_of_different_fields_are_all_kept(service):
    async with logged_in(service) as browser:
        answers = await asyncio.gather(*(browser.put(f"/field/f{n}?value={n}") for n in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        for n in range(50):
            assert (await browser.get(f"/field/f{n}")).json() == n


async def test_a_slow_request_never_brings_a_session_back_that_was_logged_out(service):
    for _ in range(20):
        service.app.state.started.clear()
        service.app.state.proceed.clear()
        async with logged_in(service) as browser:
            cookie = cookie_of(browser)
            slow = asyncio.create_task(service.with_cookie(cookie, "/slow", "PUT"))
            await service.app.state.started.wait()
            await browser.post("/logout")
            service.app.state.proceed.set()
            answer = await slow

        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert (await service.with_cookie(cookie)).status_code == 401
    assert await keys(service) == 0


async def test_logouts_and_writes_at_the_same_moment_end_logged_out(service):
    for _ in range(40):
        async with logged_in(service) as browser:
            cookie = cookie_of(browser)
            writes = [service.with_cookie(cookie, f"/field/f{n}", "PUT") for n in range(3)]
            await asyncio.gather(*writes[:2], browser.post("/logout"), writes[2])

        assert (await service.with_cookie(cookie)).status_code == 401


async def test_a_field_can_be_removed(service):
    async with logged_in(service) as browser:
        await browser.put("/field/a")
        await browser.delete("/field/a")
        assert (await browser.get("/field/a")).json() is None


async def test_devices_are_listed_and_ended_one_by_one_and_all_but_this(service):
    async with (
        logged_in(service, **{"user-agent": "phone"}) as phone,
        logged_in(service, **{"user-agent": "laptop"}) as laptop,
        logged_in(service, **{"user-agent": "tablet"}) as tablet,
    ):
        listed = (await laptop.get("/list")).json()
        assert [(info["device"], info["current"]) for info in listed] == [
            ("phone", False),
            ("laptop", True),
            ("tablet", False),
        ]
        assert (await laptop.delete(f"/list/{listed[0]['ref']}")).json() is True
        assert (await phone.get("/me")).status_code == 401

        assert (await laptop.post("/logout-elsewhere")).json() == 1
        assert (await tablet.get("/me")).status_code == 401
        assert (await laptop.get("/me")).status_code == 200

        assert (await laptop.post("/logout-everywhere")).json() == 1
        assert (await laptop.get("/me")).status_code == 401


async def test_reads_write_nothing_until_the_use_is_worth_noting(clients):
    service = Service(clients, idle_seconds=3600)
    async with logged_in(service) as browser:
        before = (await clients.sessions.info("commandstats")).get("cmdstat_hset", {}).get("calls")
        for _ in range(5):
            await browser.get("/me")
        after = (await clients.sessions.info("commandstats")).get("cmdstat_hset", {}).get("calls")

    assert before == after


async def test_use_keeps_an_idle_session_alive_and_disuse_ends_it(clients):
    service = Service(clients, idle_seconds=0.5)
    async with logged_in(service) as browser:
        for _ in range(6):
            await asyncio.sleep(0.1)
            assert (await browser.get("/me")).status_code == 200

        await asyncio.sleep(0.55)
        assert (await browser.get("/me")).status_code == 401


async def test_with_a_dead_store_who_needs_a_session_gets_503_and_others_do_not_notice(service):
    async with logged_in(service) as browser:
        cookie = cookie_of(browser)

    async with RedisClients("redis://127.0.0.1:1") as dead:
        broken = Service(dead)
        assert (await broken.with_cookie(cookie)).status_code == 503
        assert (await broken.with_cookie(cookie, "/untouched")).status_code == 200
        async with broken.browser() as visitor:
            assert (await visitor.get("/field/basket")).status_code == 200
            assert (await visitor.get("/me")).status_code == 401


async def test_what_cannot_be_kept_is_a_503_never_a_silent_loss():
    async with RedisClients("redis://127.0.0.1:1") as dead, Service(dead).browser() as visitor:
        answer = await visitor.put("/field/basket")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in answer.headers
    assert "retry-after" in answer.headers


async def test_a_redis_that_takes_no_writes_loses_none_silently_and_stops_no_reader(redis_url):
    async with RedisClients(redis_url) as clients, redis.asyncio.from_url(redis_url) as operator:
        service = Service(clients)
        async with logged_in(service) as browser:
            slow = asyncio.create_task(browser.put("/slow"))
            await service.app.state.started.wait()
            await operator.client_pause(10_000, all=False)
            service.app.state.proceed.set()
            try:
                assert (await slow).status_code == 503

                service.store.touch_seconds = 0  # every request has a use to note
                assert (await browser.get("/me")).status_code == 200
            finally:
                await operator.client_unpause()


async def test_reading_before_loading_is_a_mistake_that_is_said():
    async with RedisClients("redis://127.0.0.1:1") as clients:
        store = SessionStore(clients, secret_keys=[NEW])
        session = Session(store, SessionCookie(store.signer), {"headers": []})

        with pytest.raises(RuntimeError, match="load"):
            session.get("a")
        with pytest.raises(RuntimeError, match="load"):
            session["a"] = 1


@pytest.mark.parametrize("way", ["rotate", "login"])
async def test_a_503_hands_out_the_id_that_the_client_needs_from_now_on(
    service: Service, monkeypatch, way
):
    """The new id was made; the write after it failed."""

    async def refuse(*_):
        raise StoreUnavailable("once")

    app: FastAPI = service.app

    @app.post("/renew")
    async def renew(session: SessionDep) -> None:
        await (session.rotate() if way == "rotate" else session.login("ada"))
        session["more"] = 1
        monkeypatch.setattr(service.store, "update", refuse)

    async with service.browser() as browser:
        await browser.post("/login/ada")
        answer = await browser.post("/renew")
        assert answer.status_code == 503
        assert "__Host-session=" in answer.headers["set-cookie"]
        monkeypatch.undo()
        await asyncio.sleep(0.01)
        assert (await browser.get("/me")).json() == "ada"
