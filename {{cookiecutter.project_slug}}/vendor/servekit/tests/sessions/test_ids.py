"""Session ids: never adopted, changed at every login, believed only when signed here."""

import pytest

from servekit.redis.clients import RedisClients
from tests.sessions.application import NEW, OLD, Service, cookie_of, logged_in


async def test_the_cookie_cannot_be_read_by_scripts_set_by_other_hosts_or_sent_in_clear(service):
    async with service.browser() as browser:
        answer = await browser.post("/login/ada")

    cookie = answer.headers["set-cookie"]
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-session=")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
    assert len(cookie) < 4096


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


async def test_a_cookie_of_an_older_key_works_and_is_signed_anew(clients):
    before = Service(clients, keys=[OLD])
    async with logged_in(before) as browser:
        cookie = cookie_of(browser)

    answer = await Service(clients, keys=[NEW, OLD]).with_cookie(cookie)
    signed = answer.headers["set-cookie"].split(";")[0].partition("=")[2]

    assert answer.json() == "ada"
    assert (await Service(clients, keys=[NEW]).with_cookie(signed)).json() == "ada"
    assert (await Service(clients, keys=[NEW]).with_cookie(cookie)).status_code == 401


async def test_the_cookie_is_sent_when_it_is_new_only(service):
    async with logged_in(service) as browser:
        for method, path in (("PUT", "/field/a"), ("GET", "/field/a"), ("DELETE", "/field/a")):
            assert "set-cookie" not in (await browser.request(method, path)).headers
