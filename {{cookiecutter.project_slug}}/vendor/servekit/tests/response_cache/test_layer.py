import asyncio
import gzip
from email.utils import formatdate
from typing import Annotated

import httpx2
import orjson
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
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


@pytest.fixture
def origin():
    return Origin()


@pytest.fixture
async def client(redis_url, origin):
    async with worker(redis_url, origin.app) as client:
        yield client


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


async def test_what_stands_in_front_is_told_what_the_author_wants(redis_url):
    origin = Origin(stale_seconds=60, client_seconds=0, cdn_seconds=300)
    async with worker(redis_url, origin.app) as client:
        for answer in (await client.get("/page"), await client.get("/page")):
            assert answer.headers["cache-control"] == "public, max-age=0"
            assert answer.headers["cdn-cache-control"] == "max-age=300"
        assert is_hit(answer)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": "ETAG"}, 304),
        ({"if-none-match": '"other", ETAG'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": formatdate(2e9, usegmt=True)}, 304),
        ({"if-modified-since": formatdate(1e9, usegmt=True)}, 200),
        ({"if-none-match": '"other"', "if-modified-since": formatdate(2e9, usegmt=True)}, 200),
    ],
)
async def test_a_client_that_has_the_page_gets_304(client, origin, headers, status):
    origin.headers = {"last-modified": formatdate(1.5e9, usegmt=True)}
    etag = (await client.get("/page")).headers["etag"]

    sent = {name: value.replace("ETAG", etag) for name, value in headers.items()}
    answer = await client.get("/page", headers=sent)

    assert answer.status_code == status
    assert answer.headers["etag"] == etag
    assert {"age", "cache-control", "cache-status"} <= set(answer.headers)
    if status == 304:
        assert answer.content == b""
        assert "content-type" not in answer.headers
    assert origin.runs == 1


async def test_a_miss_checks_the_clients_copy_too_and_the_route_never_sees_conditions(
    client, origin
):
    origin.headers = {"etag": '"v1"'}
    answer = await client.get("/page", headers={"if-none-match": 'W/"v1"'})

    assert answer.status_code == 304
    assert "if-none-match" not in origin.request_headers[0]
    assert (await client.get("/page")).status_code == 200


async def test_head_is_answered_from_the_page_without_its_body(client, origin):
    first, second = await client.head("/page"), await client.head("/page")
    page = await client.get("/page")

    assert (first.status_code, second.status_code, origin.runs) == (200, 200, 1)
    assert first.content == second.content == b""
    assert second.headers["content-length"] == page.headers["content-length"]
    assert is_hit(page)


@pytest.mark.parametrize(
    "control",
    [
        *("no-cache", "no-store", "max-age=0", "max-age=nonsense", "min-fresh=60"),
        *("max-stale=5", "only-if-cached", "only-if-cached, no-cache"),
    ],
)
@pytest.mark.parametrize("field", ["cache-control", "pragma"])
async def test_no_client_empties_what_all_share(client, origin, field, control):
    first = await client.get("/page")

    answer = await client.get("/page", headers={field: control})

    assert is_hit(answer)
    assert is_hit(await client.get("/page"))
    assert (answer.text, origin.runs) == (first.text, 1)


async def test_only_if_cached_never_runs_the_route(client, origin):
    answer = await client.get("/page", headers={"cache-control": "only-if-cached"})

    assert (answer.status_code, origin.runs) == (504, 0)


async def test_the_query_is_part_of_the_key_but_not_the_order_of_its_names(client, origin):
    await client.get("/page?a=1&b=2")
    assert is_hit(await client.get("/page?b=2&a=1"))
    for other in ("?a=1&b=3", "?a=1", "", "?a=1&a=2", "?a=2&a=1"):
        assert not is_hit(await client.get("/page" + other))


async def test_hosts_and_schemes_do_not_share_pages(client):
    await client.get("/page")

    assert not is_hit(await client.get("/page", headers={"host": "other.test"}))
    assert not is_hit(await client.get("https://shop.test/page"))
    assert is_hit(await client.get("/page", headers={"host": "SHOP.test"}))


async def test_a_page_that_depends_on_a_declared_header_has_a_variant_for_each(redis_url):
    app = FastAPI()
    runs = []

    @app.get("/", dependencies=[Depends(cache_response(ttl_seconds=30, vary=("x-region",)))])
    async def page(request: Request, accept_language: Annotated[str, Header()] = "en") -> list[str]:
        runs.append(1)
        return [accept_language, request.headers.get("x-region", "-")]

    async with worker(redis_url, app) as client:
        for headers in ({}, {"accept-language": "de"}, {"x-region": "eu"}, {"x-region": ""}):
            for _ in range(2):
                answer = await client.get("/", headers=headers)
                assert answer.json() == [
                    headers.get("accept-language", "en"),
                    headers.get("x-region", "-"),
                ]
            assert is_hit(answer)
    assert len(runs) == 4
    assert {"accept-language", "x-region"} <= set(answer.headers["vary"].split(", "))


async def test_a_vary_on_what_the_route_does_not_see_makes_no_variants(client, origin):
    """Nor a wrong one: the first answer of a worker used to be of the first client's language."""
    origin.headers = {"vary": "accept-language"}
    for language, hit in (("de", False), ("en", True), ("de", True)):
        answer = await client.get("/page", headers={"accept-language": language})
        assert is_hit(answer) == hit
        assert "accept-language" in answer.headers["vary"]
    assert ["accept-language" in headers for headers in origin.request_headers] == [False]


async def test_headers_outside_the_key_cannot_shape_a_page(client, origin):
    poison = {"x-forwarded-host": "evil.test", "x-original-url": "/admin", "referer": "evil"}
    await client.get("/page", headers=poison)

    assert not set(poison) & set(origin.request_headers[0])


async def test_a_route_that_an_earlier_route_shadows_is_not_cached_in_its_name(redis_url):
    app = FastAPI()
    runs = []

    @app.get("/items/mine")
    async def mine() -> int:
        runs.append(1)
        return len(runs)

    router = APIRouter(prefix="/items")

    @router.get("/{name}", dependencies=[Depends(cache_response(ttl_seconds=30))])
    async def item(name: str) -> str:
        return name

    app.include_router(router)
    async with worker(redis_url, app) as client:
        assert [(await client.get("/items/mine")).json() for _ in range(2)] == [1, 2]
        assert "cache-status" not in (await client.get("/items/mine")).headers
        for path, name in (("/items/a", "a"), ("/items/b", "b")):
            assert (await client.get(path)).json() == name
            assert is_hit(await client.get(path))


async def test_what_another_layer_answers_in_a_routes_place_is_not_kept(redis_url, origin):
    async def answer_for(scope, receive, send):
        await Response("maintenance")(scope, receive, send)

    async with worker(redis_url, origin.app, wrap=lambda _: answer_for) as client:
        answers = [await client.get("/page") for _ in range(2)]

    assert [answer.text for answer in answers] == ["maintenance"] * 2
    assert not any(is_hit(answer) for answer in answers)


async def test_deceiving_paths_do_not_reach_another_pages_entry(redis_url):
    app = FastAPI()

    @app.get("/p/{name:path}", dependencies=[Depends(cache_response(ttl_seconds=30))])
    async def page(request: Request, name: str, q: str = "") -> list[str]:
        return [name, request.url.query]

    paths = [
        "/p/a",
        "/p/a%3Fq=1",
        "/p/a?q=1",
        "/p/a/",
        "/p/A",
        "/p/a;x.css",
        "/p/a%2Fb",
    ]
    async with worker(redis_url, app) as client:
        first = [(await client.get(path)).text for path in paths]
        second = [await client.get(path) for path in paths]

    assert len(set(first)) == len(paths)
    assert [answer.text for answer in second] == first
    assert all(is_hit(answer) for answer in second)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_write_ends_all_pages_of_its_path_everywhere(redis_url, client, origin, method):
    paths = ("/page", "/page?a=1")
    async with worker(redis_url, origin.app) as other:
        for path in paths:
            await client.get(path)
            await other.get(path)
        origin.body = "new"
        await client.request(method, "/page")

        # Here before the writer hears of the success, elsewhere soon (100 ms on an idle machine).
        assert [(await client.get(path)).text for path in paths] == ["new", "new"]

        async def renewed():
            return [(await other.get(path)).text for path in paths] == ["new", "new"]

        await until(renewed, seconds=1)


async def test_tags_end_pages_and_may_name_path_parameters(redis_url):
    app = FastAPI()
    policy = cache_response(ttl_seconds=30, tags=("products", "product:{number}"))

    @app.get("/products/{number}", dependencies=[Depends(policy)])
    async def product(number: int) -> int:
        return number

    async with worker(redis_url, app) as client:
        for tag, hits in (("product:1", [False, True]), ("products", [False, False])):
            await client.get("/products/1")
            await client.get("/products/2")
            await client.cache.invalidate_tag(tag)
            states = [is_hit(await client.get(f"/products/{number}")) for number in (1, 2)]
            assert states == hits


async def test_a_write_during_a_run_leaves_nothing_old_behind(client, origin):
    origin.delay, origin.body = 0.1, "old"
    slow = asyncio.create_task(client.get("/page"))
    await asyncio.sleep(0.03)
    origin.body = "new"
    await client.post("/page")
    await slow
    origin.delay = 0

    assert (await client.get("/page")).text == "new"
    assert (await client.get("/page")).text == "new"


async def test_one_run_answers_all_who_wait_for_a_cold_page_over_all_workers(redis_url, origin):
    origin.delay = 0.1
    async with worker(redis_url, origin.app) as one, worker(redis_url, origin.app) as two:
        answers = await asyncio.gather(
            *(one.get("/page") for _ in range(50)), *(two.get("/page") for _ in range(50))
        )

    assert {answer.text for answer in answers} == {LONG}
    assert origin.runs == 1
    collapsed = [answer for answer in answers if "collapsed" in status_of(answer)]
    assert len(collapsed) == 99


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


async def test_a_stale_page_is_served_at_once_and_renewed_behind(redis_url):
    origin = Origin(ttl_seconds=0.05, stale_seconds=30)
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        await asyncio.sleep(0.08)
        origin.body, origin.delay = "renewed", 0.3
        started = asyncio.get_running_loop().time()
        stale = await client.get("/page")

        assert asyncio.get_running_loop().time() - started < origin.delay
        assert stale.text == LONG
        assert "detail=stale" in status_of(stale)

        async def renewed():
            return (await client.get("/page")).text == "renewed"

        await until(renewed)


async def test_while_the_route_fails_the_stale_page_stands_in(redis_url):
    origin = Origin(ttl_seconds=0.05, stale_seconds=30)
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        for trouble in ({"status": 503}, {"error": ValueError("broken")}):
            for name, value in trouble.items():
                setattr(origin, name, value)
            await asyncio.sleep(0.08)
            answer = await client.get("/page")
            assert (answer.status_code, answer.text) == (200, LONG)


async def test_stale_if_error_alone_asks_the_route_first(redis_url):
    origin = Origin(ttl_seconds=0.05, stale_seconds=30)
    origin.headers = {"cache-control": "stale-while-revalidate=0, stale-if-error=30"}
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        await asyncio.sleep(0.08)
        origin.body = "new"
        assert (await client.get("/page")).text == "new"

        await asyncio.sleep(0.08)
        origin.status = 503
        answer = await client.get("/page")
        assert (answer.status_code, answer.text) == (200, "new")
        assert "detail=stale" in status_of(answer)


async def test_must_revalidate_is_never_served_stale(redis_url):
    origin = Origin(ttl_seconds=0.05, stale_seconds=30)
    origin.headers = {"cache-control": "must-revalidate"}
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        await asyncio.sleep(0.08)
        origin.status = 503
        assert (await client.get("/page")).status_code == 503


async def test_a_page_that_is_gone_is_not_served_from_its_stale_copy_for_long(redis_url):
    origin = Origin(ttl_seconds=0.05, stale_seconds=30)
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        origin.status = 404
        await asyncio.sleep(0.08)

        async def gone():
            return (await client.get("/page")).status_code == 404

        await until(gone)


async def test_an_error_on_a_cold_page_is_shared_by_all_who_waited(client, origin):
    origin.status, origin.delay = 503, 0.05
    answers = await asyncio.gather(*(client.get("/page") for _ in range(20)))

    assert {answer.status_code for answer in answers} == {503}
    assert origin.runs == 1


async def test_not_found_is_kept_if_the_author_says_so(redis_url):
    origin = Origin(negative_ttl_seconds=10)
    origin.status = 404
    async with worker(redis_url, origin.app) as client:
        await client.get("/page")
        assert is_hit(await client.get("/page"))
    assert origin.runs == 1


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
    assert len(runs) == 4  # twice at first, then straight to the client


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
