"""What a client asks of a page that all share: its copy, its head, its directives."""

from email.utils import formatdate

import pytest

from tests.response_cache.origin import Origin, is_hit, worker


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
