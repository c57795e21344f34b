import asyncio
from contextlib import asynccontextmanager

import httpx2
import pytest
import redis.asyncio
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from servekit.errors import StoreUnavailable
from servekit.problems import problem_response
from servekit.redis.clients import RedisClients
from servekit.sessions.cookie import SessionCookie
from servekit.sessions.layer import SessionDep, SessionMiddleware, UserDep
from servekit.sessions.session import Session
from servekit.sessions.store import SessionStore
from tests.redis.patient import patient_clients
from tests.stores.workers import until

OLD, NEW = "old-key-0123456789", "new-key-0123456789"


def make_app():
    app = FastAPI()

    @app.exception_handler(StoreUnavailable)
    async def unavailable(request, error):
        return problem_response(request.scope, 503)

    @app.get("/untouched")
    async def untouched() -> str:
        return "hello"

    @app.get("/me")
    async def me(user: UserDep) -> str:
        return user

    @app.get("/field/{name}")
    async def read(name: str, session: SessionDep) -> object:
        return session.get(name)

    @app.put("/field/{name}")
    async def write(name: str, session: SessionDep, value: int = 1) -> None:
        session[name] = value

    @app.delete("/field/{name}")
    async def remove(name: str, session: SessionDep) -> None:
        del session[name]

    @app.put("/slow")
    async def slow(session: SessionDep) -> None:
        app.state.started.set()
        await app.state.proceed.wait()
        session["slow"] = True

    return app


def add_account_routes(app: FastAPI):
    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> None:
        await session.login(user, role="user")

    @app.post("/elevate")
    async def elevate(session: SessionDep) -> None:
        await session.rotate(role="admin")

    @app.post("/logout")
    async def logout(session: SessionDep) -> None:
        await session.logout()

    @app.post("/logout-elsewhere")
    async def logout_elsewhere(session: SessionDep) -> int:
        return await session.logout_everywhere(keep_current=True)

    @app.post("/logout-everywhere")
    async def everywhere(session: SessionDep) -> int:
        return await session.logout_everywhere()

    @app.get("/list")
    async def listed(session: SessionDep, user: UserDep) -> list[dict[str, object]]:
        return [
            {"ref": info.ref, "device": info.device, "current": info.ref == session.ref}
            for info in await session.list()
        ]

    @app.delete("/list/{ref}")
    async def revoke(ref: str, session: SessionDep) -> bool:
        return await session.revoke(ref)


class Service:
    """An application over its own store; `browser()` keeps cookies as a browser does."""

    def __init__(self, clients, *, keys=(NEW,), secure=True, clear_site_data=(), **options):
        self.registry = CollectorRegistry()
        self.clients = clients
        self.app = make_app()
        add_account_routes(self.app)
        self.app.state.started, self.app.state.proceed = asyncio.Event(), asyncio.Event()
        self.store = SessionStore(clients, secret_keys=keys, registry=self.registry, **options)
        self.asgi = SessionMiddleware(
            self.app, store=self.store, secure=secure, clear_site_data=clear_site_data
        )

    def browser(self, **headers):
        transport = httpx2.ASGITransport(self.asgi)
        return httpx2.AsyncClient(
            transport=transport, base_url="https://shop.test", headers=headers
        )

    async def with_cookie(self, cookie, path="/me", method="GET"):
        async with self.browser(cookie=f"__Host-session={cookie}") as fresh:
            return await fresh.request(method, path)


@pytest.fixture
async def clients(redis_url):
    async with patient_clients(redis_url) as clients:
        yield clients


@pytest.fixture
async def service(clients):
    """A service as a worker has it, with copies of its own."""
    service = Service(clients)
    async with service.store:
        await until(lambda: service.store.coherent)
        yield service


def cookie_of(browser):
    return browser.cookies["__Host-session"]


async def keys(service):
    return await service.clients.sessions.dbsize()


@asynccontextmanager
async def logged_in(service, user="ada", **headers):
    async with service.browser(**headers) as browser:
        assert (await browser.post(f"/login/{user}")).status_code == 200
        yield browser


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


async def test_the_cookie_cannot_be_read_by_scripts_set_by_other_hosts_or_sent_in_clear(service):
    async with service.browser() as browser:
        answer = await browser.post("/login/ada")

    cookie = answer.headers["set-cookie"]
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-session=")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
    assert len(cookie) < 4096


async def test_development_over_http_has_a_plain_cookie(clients):
    async with Service(clients, secure=False).browser() as browser:
        answer = await browser.post("/login/ada")

    assert answer.headers["set-cookie"].startswith("session=")
    assert "Secure" not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "planted", ["attackerchosen", "", "A" * 108, "A" * 64 + "." + "A" * 43, "x" * 8192]
)
async def test_a_planted_id_is_never_adopted(service, planted):
    async with service.browser() as browser:
        browser.cookies.set("__Host-session", planted, domain="shop.test")
        await browser.post("/login/ada")
        browser.cookies.delete("__Host-session", domain="shop.test")
        own = [c for c in browser.cookies.jar if c.name == "__Host-session"]

    assert all(cookie.value != planted for cookie in own)
    assert (await service.with_cookie(planted)).status_code == 401


async def test_forged_cookies_never_reach_redis():
    async with RedisClients("redis://127.0.0.1:1") as clients:
        service = Service(clients)
        for forged in ("x", "A" * 108, "A" * 64 + "." + "A" * 43, "x" * 8192):
            assert (await service.with_cookie(forged)).status_code == 401
        assert service.registry.get_sample_value("session_rejected_cookies_total") == 4


async def test_of_two_cookies_of_that_name_neither_is_believed(service):
    async with logged_in(service) as browser:
        good = cookie_of(browser)

    assert (await service.with_cookie(f"{good}; __Host-session={good[::-1]}")).status_code == 401
    assert (await service.with_cookie(f"{good}; other=1")).status_code == 200


async def test_a_cookie_signed_before_by_us_but_unknown_is_not_adopted(service):
    async with logged_in(service) as browser:
        cookie = cookie_of(browser)
    await service.clients.sessions.flushall()

    assert (await service.with_cookie(cookie)).status_code == 401
    answer = await service.with_cookie(cookie, "/login/ada", "POST")
    assert cookie not in answer.headers["set-cookie"]
    assert (await service.with_cookie(cookie)).status_code == 401


async def test_the_id_changes_at_login_at_every_further_login_and_at_elevation(service):
    async with service.browser() as browser:
        cookies = []
        for method, path in (
            ("PUT", "/field/basket"),
            ("POST", "/login/ada"),
            ("POST", "/login/ada"),
            ("POST", "/elevate"),
        ):
            await browser.request(method, path)
            cookies.append(cookie_of(browser))

        assert (await browser.get("/field/role")).json() == "admin"
    assert len(set(cookies)) == 4
    for dead in cookies[:2]:
        assert (await service.with_cookie(dead)).status_code == 401


async def test_the_session_id_before_a_login_gains_nothing_and_hurts_nobody(service):
    """An attacker who planted his own anonymous session must not share the victim's."""
    async with service.browser() as browser:
        await browser.put("/field/basket?value=7")
        planted = cookie_of(browser)
        await browser.post("/login/ada")

        assert (await service.with_cookie(planted)).status_code == 401
        assert (await service.with_cookie(planted, "/field/role")).json() is None
        written = await service.with_cookie(planted, "/field/basket?value=8", "PUT")
        assert "set-cookie" not in written.headers  # it would log the victim out
        assert (await browser.get("/field/basket")).json() == 7


async def test_parallel_requests_with_the_id_before_a_rotation_are_still_the_users(service):
    async with logged_in(service) as browser:
        old = cookie_of(browser)
        await browser.post("/elevate")

        assert (await service.with_cookie(old)).json() == "ada"
        written = await service.with_cookie(old, "/field/parallel?value=3", "PUT")
        assert "set-cookie" not in written.headers
        assert (await browser.get("/field/parallel")).json() == 3


async def test_logging_in_as_someone_else_takes_nothing_along(service):
    async with logged_in(service) as browser:
        await browser.put("/field/secret")
        before = cookie_of(browser)
        await browser.post("/login/eve")

        assert (await browser.get("/me")).json() == "eve"
        assert (await browser.get("/field/secret")).json() is None
    assert (await service.with_cookie(before)).status_code == 401


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


async def test_a_cookie_of_an_older_key_works_and_is_signed_anew(clients):
    before = Service(clients, keys=[OLD])
    async with logged_in(before) as browser:
        cookie = cookie_of(browser)

    answer = await Service(clients, keys=[NEW, OLD]).with_cookie(cookie)
    signed = answer.headers["set-cookie"].split(";")[0].partition("=")[2]

    assert answer.json() == "ada"
    assert (await Service(clients, keys=[NEW]).with_cookie(signed)).json() == "ada"
    assert (await Service(clients, keys=[NEW]).with_cookie(cookie)).status_code == 401


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


async def test_the_cookie_is_sent_when_it_is_new_only(service):
    async with logged_in(service) as browser:
        for method, path in (("PUT", "/field/a"), ("GET", "/field/a"), ("DELETE", "/field/a")):
            assert "set-cookie" not in (await browser.request(method, path)).headers


async def test_reading_before_loading_is_a_mistake_that_is_said():
    async with RedisClients("redis://127.0.0.1:1") as clients:
        store = SessionStore(clients, secret_keys=[NEW])
        session = Session(store, SessionCookie(store.signer), {"headers": []})

        with pytest.raises(RuntimeError, match="load"):
            session.get("a")
        with pytest.raises(RuntimeError, match="load"):
            session["a"] = 1
