"""Which requests share a page: host, scheme, query, declared headers, and nothing else."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response

from servekit.response_cache.layer import cache_response
from tests.response_cache.origin import is_hit, worker


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


async def test_spellings_of_one_path_share_a_page_and_the_run_sees_one_of_them(redis_url):
    app = FastAPI()
    seen = []

    @app.get("/p/{name}", dependencies=[Depends(cache_response(ttl_seconds=30))])
    async def page(request: Request, name: str) -> str:
        seen.append(request.scope["raw_path"])
        return name

    async with worker(redis_url, app) as client:
        for path in ("/p/%3a7%C3%a9", "/%70/%3A%37%c3%A9", "/p/%3A7%C3%A9"):
            assert (await client.get(path)).json() == ":7é"

    assert seen == [b"/p/%3A7%C3%A9"]


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
