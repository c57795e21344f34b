"""Conditions, wishes of a request, writes, stale answers: RFC 9110 13, 9111 4.3 to 5.4, 5861."""
# ruff: noqa: D103 - a check's rule says what it does

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chaos.http_rules.page import CHECKS, DATE, LATER, Headers, Page, check, hit


@check("9111 4.3: If-None-Match of the page: 304 without a body, with its validators")
async def not_modified(page: Callable[..., Page]) -> bool:
    one = page(size="5000", **{"cache-control": "max-age=10"})
    coding = {"Accept-Encoding": "gzip"}
    tag = (await one.ask(coding)).headers["etag"]
    answer = await one.ask({"If-None-Match": tag, **coding})
    kept_fields = {"etag", "cache-control", "vary", "age"} <= answer.headers.keys()
    return answer.status == 304 and not answer.body and kept_fields  # noqa: PLR2004


def conditional(rule: str, status: int, headers: Headers) -> None:
    """Register a check of a condition against a page with ETag "v1" and Last-Modified."""

    async def run(page: Callable[..., Page]) -> bool:
        one = page(etag='"v1"', **{"last-modified": DATE})
        await one.ask()
        answer = await one.ask(headers)
        cold = await page(etag='"v1"', **{"last-modified": DATE}).ask(headers)
        return answer.status == cold.status == status

    CHECKS[rule] = run


for _rule, _status, _headers in [
    ("9110 13.1.2: one tag of a list", 304, {"If-None-Match": '"v0", W/"v1"'}),
    ("9110 13.1.2: compared weakly", 304, {"If-None-Match": 'W/"v1"'}),
    ("9110 13.1.2: any", 304, {"If-None-Match": "*"}),
    ("9110 13.1.2: another tag", 200, {"If-None-Match": '"v2"'}),
    ("9110 13.1.2: no tag at all", 200, {"If-None-Match": "v1"}),
    ("9110 13.1.3: not modified since", 304, {"If-Modified-Since": DATE}),
    ("9110 13.1.3: later than the change", 304, {"If-Modified-Since": LATER}),
    ("9110 13.1.3: no date", 200, {"If-Modified-Since": "yesterday"}),
    (
        "9110 13.2.2: tags go before dates",
        200,
        {"If-None-Match": '"v2"', "If-Modified-Since": DATE},
    ),
]:
    conditional(_rule, _status, _headers)


def requested(rule: str, headers: Headers) -> None:
    """Register a check of what a request asks of a cache: advice, for one must not empty it."""

    async def run(page: Callable[..., Page]) -> bool:
        one = page()
        first = await one.ask()
        await asyncio.sleep(0.02)
        answer, later = await one.ask(headers), await one.ask()
        return hit(answer) and hit(later) and answer.body == first.body == later.body

    CHECKS[rule] = run


for _rule, _control in [
    ("9111 5.2.1.4: no-cache is advice", "no-cache"),
    ("9111 5.2.1.5: no-store is advice", "no-store"),
    ("9111 5.2.1.1: max-age=0 is advice", "max-age=0"),
    ("9111 5.2.1.1: max-age=5 takes a new page", "max-age=5"),
    ("9111 5.2.1.3: min-fresh=30 of 60 s", "min-fresh=30"),
    ("9111 5.2.1.3: min-fresh=90 of 60 s is advice", "min-fresh=90"),
    ("9111 5.2.1.2: max-stale takes a fresh page", "max-stale=10"),
    ("9111 5.2.1.7: only-if-cached takes a page", "only-if-cached"),
]:
    requested(_rule, {"Cache-Control": _control})
requested("9111 5.4: Pragma: no-cache is advice", {"Pragma": "no-cache"})


@check("9111 5.2.1.7: only-if-cached without a page: 504")
async def only_if_cached(page: Callable[..., Page]) -> bool:
    return (await page().ask({"Cache-Control": "only-if-cached"})).status == 504  # noqa: PLR2004


@check("9110 9.3.2: HEAD is answered from the page, without its body")
async def head(page: Callable[..., Page]) -> bool:
    one = page()
    body = (await one.ask()).body
    answer = await one.ask(method="HEAD")
    return hit(answer) and answer.headers["content-length"] == str(len(body))


@check("9110 14.2: a range is the route's business")
async def ranges(page: Callable[..., Page]) -> bool:
    one = page()
    await one.ask()
    return not hit(await one.ask({"Range": "bytes=0-1"}))


def unsafe(method: str) -> None:
    """Register checks of what a write ends."""

    async def succeeds(page: Callable[..., Page]) -> bool:
        one, two = page(), page()
        await one.ask(), await two.ask()
        await one.ask(method=method)
        return not hit(await one.ask()) and not hit(await two.ask())

    async def fails(page: Callable[..., Page]) -> bool:
        one = page()
        await one.ask()
        await one.ask(method=method, status="409")
        return not hit(await one.ask())

    CHECKS[f"9111 4.4: {method} that succeeds ends all pages of the path"] = succeeds
    CHECKS[f"9111 4.4: {method} that fails may have been committed, and ends them too"] = fails


for _method in ("POST", "PUT", "PATCH", "DELETE"):
    unsafe(_method)


@check("9111 4.4: OPTIONS and HEAD end nothing")
async def safe(page: Callable[..., Page]) -> bool:
    one = page()
    await one.ask()
    await one.ask(method="OPTIONS")
    await one.ask(method="HEAD")
    return hit(await one.ask())


@check("9110 9.3.3: what POST answers is not stored")
async def post(page: Callable[..., Page]) -> bool:
    one = page()
    first, second = await one.ask(method="POST"), await one.ask(method="POST")
    return first.body != second.body and not hit(second)


@check("5861 3: stale-while-revalidate serves at once and renews behind")
async def while_revalidating(page: Callable[..., Page]) -> bool:
    one = page(**{"cache-control": "max-age=1, stale-while-revalidate=10"})
    first = await one.ask()
    await asyncio.sleep(1.2)
    stale = await one.ask()
    await asyncio.sleep(0.2)
    new = await one.ask()
    said = "detail=stale" in stale.headers["cache-status"]
    return first.body == stale.body != new.body and said and hit(new)


@check("9111 5.2.2.2: must-revalidate is never served stale")
async def must_revalidate(page: Callable[..., Page]) -> bool:
    control = "max-age=1, must-revalidate, stale-while-revalidate=10"
    one = page(**{"cache-control": control})
    first = await one.ask()
    await asyncio.sleep(1.1)
    return (await one.ask()).body != first.body


@check("9111 5.2.2.10: s-maxage is never served stale")
async def shared_max_age(page: Callable[..., Page]) -> bool:
    one = page(**{"cache-control": "s-maxage=1, stale-while-revalidate=10"})
    first = await one.ask()
    await asyncio.sleep(1.1)
    return (await one.ask()).body != first.body


@check("9110 6.6.1: one Date, the route's own where it has one")
async def one_date(page: Callable[..., Page]) -> bool:
    one = page(date=DATE)
    dates = [(await one.ask()).headers["date"] for _ in range(2)]
    return dates == [DATE, DATE]


@check("9111 3.1: fields of the connection are not stored")
async def connection_fields(page: Callable[..., Page]) -> bool:
    one = page(**{"keep-alive": "timeout=5", "x-kept": "yes"})
    await one.ask()
    answer = await one.ask()
    return hit(answer) and "keep-alive" not in answer.headers and answer.headers["x-kept"] == "yes"


@check("9211: a miss says so, and so does a hit, with what is left")
async def cache_status(page: Callable[..., Page]) -> bool:
    one = page(**{"cache-control": "max-age=30"})
    first, second = await one.ask(), await one.ask()
    miss, found = (one.headers["cache-status"] for one in (first, second))
    return "fwd=uri-miss; stored" in miss and "; hit; ttl=" in found and miss.startswith("service")


@check("9213: CDN-Cache-Control as the author wants it")
async def cdn(page: Callable[..., Page]) -> bool:
    one = page()
    first, second = await one.ask(), await one.ask()
    values = {answer.headers.get("cdn-cache-control") for answer in (first, second)}
    return values == {"max-age=300"}
