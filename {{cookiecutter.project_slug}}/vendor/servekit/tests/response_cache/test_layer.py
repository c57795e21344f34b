"""What the cache of answers keeps, and what passes by it."""

import gzip

import httpx2
import orjson
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from servekit.cache.cache import Cache
from servekit.redis.clients import RedisClients
from servekit.response_cache.exchange import entity_tag
from servekit.response_cache.layer import ResponseCacheMiddleware, cache_response
from servekit.routing.template import route_template
from servekit.sessions.layer import SessionDep, SessionMiddleware
from servekit.sessions.store import SessionStore
from tests.asgi import routes_of
from tests.redis.patient import patient_clients
from tests.response_cache.origin import LONG, Origin, is_hit, status_of, until, worker


async def test_a_second_request_does_not_run_the_route(client, origin):
    first, second = await client.get("/page"), await client.get("/page")

    assert (first.text, second.text, origin.runs) == (LONG, LONG, 1)
    assert status_of(first) == "service; fwd=uri-miss; stored"
    assert is_hit(second)
    assert second.headers["age"] == "0"
    assert "age" not in first.headers
    assert second.headers["cache-control"] == "public, max-age=30"
    assert second.headers["content-length"] == str(len(LONG))


async def test_every_coding_is_compressed_once_and_served_as_it_is(client, origin):
    tags = set()
    for coding in ("gzip", "br", "zstd", "identity"):
        for hit in (False, True):
            answer = await client.get("/page", headers={"accept-encoding": coding})
            assert is_hit(answer) == hit
            assert coding == "zstd" or answer.text == LONG  # the client knows no zstd
            assert answer.headers.get("content-encoding", "identity") == coding
            assert "accept-encoding" in answer.headers["vary"].lower()
        tags.add(answer.headers["etag"])

    assert origin.runs == 4
    assert len(tags) == 4
    assert all(tag.startswith('W/"') for tag in tags)


def test_the_tag_of_an_unchanged_page_stays_when_it_is_compressed_again():
    """gzip writes the time into its header."""
    bodies = [gzip.compress(text, mtime=time) for text in (b"a", b"b") for time in (1, 2)]

    tags = [entity_tag(body) for body in bodies]

    assert tags[0] == tags[1] != tags[2] == tags[3]
    assert all(tag.startswith(b'W/"') for tag in tags)


async def test_another_worker_serves_what_one_has_stored(redis_url, client, origin):
    other_origin = Origin()
    await client.get("/page")

    async with worker(redis_url, other_origin.app) as other:
        answer = await other.get("/page")

    assert is_hit(answer)
    assert other_origin.runs == 0


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"cache-control": "no-store"}),
        (200, {"cache-control": "private"}),
        (200, {"cache-control": "no-cache"}),
        (200, {"cache-control": "max-age=0"}),
        (200, {"set-cookie": "a=1"}),
        (200, {"vary": "*"}),
        (206, {"content-range": "bytes 0-1/2"}),
        (302, {"location": "/"}),
        (404, {}),
        (500, {}),
        (503, {"cache-control": "max-age=60"}),
    ],
)
async def test_what_is_not_for_all_is_never_stored(client, origin, status, headers):
    origin.status, origin.headers = status, headers

    answers = [await client.get("/page") for _ in range(2)]

    assert origin.runs == 2
    for answer in answers:
        assert answer.status_code == status
        assert status_of(answer) == "service; fwd=uri-miss"
        assert answer.headers.get("cache-control") == headers.get("cache-control")
        assert answer.headers.get("set-cookie") == headers.get("set-cookie")


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=0-1"},
        {"if-match": '"a"'},
    ],
)
async def test_requests_that_are_not_the_caches_business_pass_by_it(client, origin, headers):
    await client.get("/page")
    for _ in range(2):
        assert status_of(await client.get("/page", headers=headers)) == "service; fwd=bypass"

    assert origin.runs == 3
    assert is_hit(await client.get("/page"))
    assert all(set(headers) <= set(seen) for seen in origin.request_headers[1:])


async def test_who_sends_credentials_gets_the_page_for_all_as_no_route_sees_them(client, origin):
    for headers in ({"authorization": "Bearer x"}, {}, {"authorization": "Bearer y"}):
        answer = await client.get("/page", headers=headers)

    assert is_hit(answer)
    assert ["authorization" in headers for headers in origin.request_headers] == [False]


async def test_the_route_may_shorten_its_life_but_not_prolong_it(client, origin):
    origin.headers = {"cache-control": "max-age=5"}
    await client.get("/page")
    assert status_of(await client.get("/page")) in {f"service; hit; ttl={n}" for n in (4, 5)}

    origin.headers = {"cache-control": "max-age=500"}
    await client.get("/page?long")
    assert "ttl=29" in status_of(await client.get("/page?long"))


async def test_a_bypass_of_the_cache_runs_the_route(client, origin):
    await client.get("/page")
    assert is_hit(await client.get("/page"))
    runs = origin.runs

    with client.cache.bypass():
        await client.get("/page")

    assert origin.runs == runs + 1


async def test_the_age_that_an_answer_came_with_counts(client, origin):
    origin.headers = {"age": "10", "cache-control": "max-age=20"}
    assert (await client.get("/page")).headers["age"] == "10"
    answer = await client.get("/page")
    assert is_hit(answer)
    assert answer.headers["age"] in {"10", "11"}

    origin.headers = {"age": "25", "cache-control": "max-age=20"}
    await client.get("/page?old")
    assert not is_hit(await client.get("/page?old"))


async def test_an_answer_that_read_a_session_is_stored_for_nobody(redis_url):
    app = FastAPI()

    @app.get("/hello", dependencies=[Depends(cache_response(ttl_seconds=30))])
    async def hello(session: SessionDep) -> str:
        return f"hello {session.user_id}"

    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> None:
        await session.login(user)

    async with patient_clients(redis_url) as clients:
        store = SessionStore(clients, secret_keys=["key-of-the-tests"])

        def with_sessions(app):
            return SessionMiddleware(app, store=store, secure=False)

        async with worker(redis_url, app, wrap=with_sessions) as client:
            for user in ("ada", "eve", "ada"):
                await client.post(f"/login/{user}")
                for _ in range(2):
                    answer = await client.get("/hello")
                    assert answer.json() == f"hello {user}"
                    assert answer.headers["cache-control"] == "no-store"
            client.cookies.clear()
            assert (await client.get("/hello")).json() == "hello None"


async def test_a_body_over_the_limit_is_streamed_and_not_kept(redis_url):
    app = FastAPI()
    runs = []

    @app.get("/", dependencies=[Depends(cache_response(ttl_seconds=30))])
    async def page() -> StreamingResponse:
        runs.append(1)
        return StreamingResponse((b"x" * 2**16 for _ in range(32)), media_type="image/png")

    async with worker(redis_url, app) as client:
        for _ in range(3):
            answer = await client.get("/")
            assert len(answer.content) == 2**21
            assert not is_hit(answer)
    assert len(runs) == 3


async def test_without_redis_every_request_is_answered(origin):
    async with RedisClients("redis://127.0.0.1:1") as clients, Cache(clients) as cache:
        middleware = ResponseCacheMiddleware(origin.app, cache=cache, routes=routes_of(origin.app))
        transport = httpx2.ASGITransport(middleware)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = [await client.get("/page") for _ in range(3)]
            answers.append(await client.post("/page"))

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_a_damaged_entry_is_a_miss(redis_url, client, origin):
    await client.get("/page")
    async with patient_clients(redis_url) as clients:
        for key in await clients.cache.keys("service:cache:e:*"):
            await clients.cache.set(key, b"\x01damaged" + orjson.dumps({}))

    async def refetched():
        return (await client.get("/page")).status_code == 200 and origin.runs == 2

    await until(refetched)


async def test_routes_without_a_policy_pass_through(redis_url):
    app = FastAPI()

    @app.get("/plain")
    async def plain(request: Request) -> str:
        return request.headers["x-own"]

    async with worker(redis_url, app) as client:
        answer = await client.get("/plain", headers={"x-own": "seen"})

    assert answer.json() == "seen"
    assert not {"cache-status", "etag", "cache-control", "age"} & set(answer.headers)


async def test_metrics_and_logs_still_learn_the_route_of_a_hit(redis_url, origin):
    async with patient_clients(redis_url) as clients, Cache(clients) as cache:
        inner = ResponseCacheMiddleware(origin.app, cache=cache, routes=routes_of(origin.app))
        templates = []

        async def outer(scope, receive, send):
            await inner(scope, receive, send)
            templates.append(route_template(scope))

        transport = httpx2.ASGITransport(outer)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/page")
            await client.get("/page")

    assert templates == ["/page", "/page"]


def test_a_policy_without_a_lifetime_is_a_mistake():
    with pytest.raises(ValueError, match="ttl_seconds"):
        cache_response(ttl_seconds=0)
