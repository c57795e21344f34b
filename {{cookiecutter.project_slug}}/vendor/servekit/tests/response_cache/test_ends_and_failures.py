"""How pages end, by writes, tags and age, and what is served while a route fails."""

import asyncio

import pytest
from fastapi import Depends, FastAPI

from servekit.response_cache.layer import cache_response
from tests.response_cache.origin import LONG, Origin, is_hit, status_of, until, worker


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
