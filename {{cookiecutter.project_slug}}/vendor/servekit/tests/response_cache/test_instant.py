"""What a connection answers by itself is, byte for byte, what all layers would have answered."""

import random
import re
import time
from typing import Any

import pytest
from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.routing import Match

from servekit.cache import cache_response
from servekit.edge.instant import INSTANT_LIMIT
from servekit.response_cache import instant as module
from servekit.scope import TARGET_KEY
from servekit.service import TELEMETRY_OFF
from tests.response_cache.both_ways import TRACE, both, get, make_app

TARGETS = [
    *(b"/pages/1", b"/pages/1", b"/pages/2?q=a", b"/pages/2?q=b", b"/pages/1?unknown=1", b"/html"),
    *(b"/gone", b"/dated", b"/named", b"/long", b"/tongues", b"/plain", b"/pages/%31", b"/none"),
    *(b"http://localhost/pages/1", b"//pages/1", b"/pages/1?", b"/pages/x"),
]
FIELDS = [
    *(b"accept-encoding: gzip", b"accept-encoding: br, gzip;q=0.5", b"Accept-Encoding: identity"),
    *(b"cookie: a=b", b"authorization: Bearer x", b"accept: */*", b"accept-language: de"),
    *(b"origin: https://app.example.com", b"origin: https://other.example", b"origin: null"),
    *(b"if-none-match: *", b"if-modified-since: Thu, 26 Nov 2036 10:00:00 GMT"),
    *(b"range: bytes=0-3", b"cache-control: no-cache", b"cache-control: only-if-cached"),
    *(b"x-request-id: given-1", b"x-request-id: not sane", b"traceparent: " + TRACE),
    *(b"traceparent: 00-x", b"x-forwarded-for: 198.51.100.4", b"x-forwarded-proto: https"),
    *(b"x-forwarded-for: 198.51.100.4, 203.0.113.9", b"x-forwarded-proto: http,https"),
    *(b"x-forwarded-prefix: /shop", b"x-forwarded-host: other", b"connection: close"),
    *(b"connection: keep-alive", b"content-length: 0", b"te: trailers", b"expect: 100-continue"),
    *(b"upgrade: h2c\r\nconnection: upgrade", b"x-http-method-override: PUT", b"pragma: no-cache"),
]
WAYS: dict[str, dict[str, Any]] = {
    "nothing in front": {},
    "one proxy": {"trusted_proxy_hops": 1},
    "pages of others": {"cors_origins": ["https://app.example.com"]},
    "a prefix": {"root_path": "/shop"},
}


def some_request(chance: random.Random) -> bytes:
    method = chance.choices([b"GET", b"HEAD", b"PUT", b"OPTIONS"], [40, 2, 1, 1])[0]
    version = chance.choices([b"1.1", b"1.0"], [30, 1])[0]
    host = chance.choice([b"localhost"] * 5 + [b"LOCALHOST:80", b"evil.example"])
    # Few fields mostly, so that some requests repeat.
    fields = chance.sample(FIELDS, k=chance.choice([0, 0, 1, 1, 1, 2, 3]))
    first = b"%b %b HTTP/%b" % (method, chance.choice(TARGETS), version)
    return b"\r\n".join([first, b"host: " + host, *fields, b"", b""])


@pytest.mark.parametrize("way", WAYS)
async def test_an_instant_answer_is_the_layers_answer_and_counts_as_it_does(way, make_settings):
    chance = random.Random(7)  # the same requests each time
    async with both(make_settings, **WAYS[way]) as one:
        for number in range(700):
            request = some_request(chance)
            if b"PUT" in request:  # the second would find another page
                continue
            layers, instant = [await one.seen(request, instant=way) for way in (False, True)]
            if b"; fwd=uri-miss" not in layers.answer:
                assert instant == layers, (number, request)
        assert one.instants > 100


@pytest.mark.parametrize(
    ("options", "app"),
    [
        ({"rate_limit_per_minute": 100}, {}),
        ({"cache_enabled": False}, {}),
        ({}, {"telemetry": {**TELEMETRY_OFF, "tracing": True}}),
    ],
)
async def test_where_each_request_needs_a_layer_none_is_instant(options, app, make_settings):
    async with both(make_settings, make_app(**app), **options) as one:
        await one.asked_often(b"/pages/1")
        assert one.instants == 0


async def test_the_applications_own_middleware_sees_every_request(make_settings):
    app, seen = make_app(), 0

    @app.middleware("http")
    async def see(request, call_next):
        nonlocal seen
        seen += 1
        return await call_next(request)

    async with both(make_settings, app) as one:
        await one.asked_often(b"/pages/1")
        assert (seen, one.instants) == (4, 0)


async def test_what_a_lifespan_puts_around_the_layers_sees_every_request(make_settings):
    app, seen = make_app(), 0
    async with both(make_settings, app) as one:
        await one.asked_often(b"/pages/1")
        assert one.instants
        before, stack = one.instants, app.middleware_stack
        assert stack is not None

        async def around(*request):
            nonlocal seen
            seen += 1
            await stack(*request)

        app.middleware_stack = around
        await one.asked_often(b"/pages/1")
        assert (seen, one.instants) == (4, before)


@pytest.mark.parametrize(
    "request_",
    [
        get(b"/tongues", b"accept-language: fr"),  # of the page's variants no connection knows
        get(b"/html", b"connection: keep-alive").replace(b"1.1", b"1.0"),
        get(b"/html").replace(b"GET", b"HEAD"),
    ],
)
async def test_a_request_that_differs_in_what_no_connection_knows(make_settings, request_):
    async with both(make_settings) as one:
        await one.asked_often(b"/html")
        for _ in range(4):
            await one.ask(request_, instant=False)
        assert b'"de"' in await one.asked_often(b"/tongues", b"accept-language: de")
        instant, layers = [await one.seen(request_, instant=way) for way in (True, False)]
        assert instant == layers


async def test_a_write_is_seen_by_the_next_request(make_settings):
    async with both(make_settings) as one:
        for number in range(5):
            answer = await one.asked_often(b"/pages/1")
            assert b'"run":%d,' % (10_000 + number) in answer
            assert one.instants == number + 1
            await one.ask(get().replace(b"GET", b"PUT"))


async def test_a_page_that_is_no_longer_fresh_goes_through_the_layers(make_settings, monkeypatch):
    async with both(make_settings) as one:
        await one.asked_often(b"/pages/1")
        now = time.time()
        monkeypatch.setattr(module, "time", lambda: now + 61)
        assert await one.ask(get())
        assert one.instants == 1


async def test_a_draining_worker_says_so_in_each_answer(make_settings):
    async with both(make_settings) as one:
        await one.asked_often(b"/pages/1")
        one.service.draining.begin()
        assert b"\r\nconnection: close\r\n" in await one.ask(get())
        assert one.instants == 1


async def test_a_worker_under_pressure_decides_whom_it_answers(make_settings, monkeypatch):
    async with both(make_settings) as one:
        await one.asked_often(b"/pages/1")
        monkeypatch.setattr(one.service.pressure, "calm", lambda: False)
        await one.ask(get())
        assert one.instants == 1


async def test_requests_sent_at_once_are_answered_in_their_order_and_others_get_a_turn(
    make_settings,
):
    async with both(make_settings) as one:
        await one.asked_often(b"/pages/1")
        await one.asked_often(b"/html")
        client = one.connect()
        before, requests = one.instants, [b"/pages/1", b"/plain", b"/html", b"/pages/1"] * 15
        client.protocol.data_received(b"".join(map(get, requests)))
        assert one.instants == before + 1  # then one that is not: the others wait for it
        await client.all_over()
        bodies = re.findall(rb"content-length: (\d+)", bytes(client.wire.written))
        assert bodies == [bodies[0], b"1", b"12", bodies[0]] * 15

        client = one.connect()
        before = one.instants
        client.protocol.data_received(get() * 60)
        assert one.instants == before + INSTANT_LIMIT
        await client.all_over()
        assert client.wire.written.count(b"HTTP/1.1 200 OK") == 60


async def test_a_client_that_does_not_read_is_not_written_to(make_settings):
    async with both(make_settings) as one:
        await one.asked_often(b"/pages/1")
        client = one.connect()
        client.protocol.pause_writing()
        client.protocol.data_received(get())
        assert not client.wire.written
        client.protocol.resume_writing()
        await client.all_over()
        assert client.wire.written


def replace_all(app):
    app.router.routes[:] = [one for one in app.router.routes if one.path != "/html"]


def assign_anew(app):
    app.router.routes = [one for one in app.router.routes if one.path != "/html"]


def put_before(app):
    app.get("/html")(lambda: "the new one")
    app.router.routes.insert(0, app.router.routes.pop())


@pytest.mark.parametrize("change", [replace_all, assign_anew, put_before])
async def test_another_table_of_routes_answers_from_then_on(make_settings, change):
    app = make_app()
    async with both(make_settings, app) as one:
        await one.asked_often(b"/html")
        change(app)
        await one.asked_often(b"/pages/1")  # learned of the new table
        instant, layers = [await one.seen(get(b"/html"), instant=way) for way in (True, False)]
        assert instant == layers
        assert b"<p>" not in instant.answer


class Maintenance(APIRoute):
    is_on = False

    def matches(self, scope):
        return super().matches(scope) if Maintenance.is_on else (Match.NONE, {})


async def test_a_route_that_chooses_for_itself_is_asked_each_time(make_settings, monkeypatch):
    app = make_app()
    app.router.routes.insert(0, Maintenance("/html", lambda: "closed"))
    async with both(make_settings, app) as one:
        assert b"<p>" in await one.asked_often(b"/html")
        monkeypatch.setattr(Maintenance, "is_on", True)
        assert b"closed" in await one.ask(get(b"/html"))


async def test_pages_of_mounted_applications_are_never_instant(make_settings):
    app = make_app()
    app.mount("/inner", make_app())
    async with both(make_settings, app) as one:
        assert b"hit;" in await one.asked_often(b"/inner/html")
        assert one.instants == 0


async def test_a_cached_route_does_not_see_the_target_with_its_whole_query(make_settings):
    app = make_app()

    @app.get("/seen", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def seen(request: Request) -> str:
        return str(request.scope.get(TARGET_KEY))

    async with both(make_settings, app) as one:
        for user in (b"ada", b"eve"):
            assert b'"None"' in await one.ask(get(b"/seen?user=" + user))


async def test_a_bypassed_cache_is_bypassed(make_settings):
    async with both(make_settings) as one:
        await one.asked_often(b"/html")
        with one.service.cache.bypass():
            assert b"hit;" not in await one.ask(get(b"/html"))


async def test_a_readiness_that_is_none_is_told(make_settings):
    app = make_app()
    app.get("/readyz", dependencies=[Depends(cache_response(ttl_seconds=60))])(lambda: "own")
    async with both(make_settings, app) as one:
        await one.asked_often(b"/readyz")
        one.service.draining.ready = False
        assert b"not ready" in await one.ask(get(b"/readyz"))
