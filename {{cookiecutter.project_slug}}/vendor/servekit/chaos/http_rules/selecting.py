"""Which stored answer a request gets, and how old it is: RFC 9111 3.5, 4.1, 4.2."""
# ruff: noqa: D103 - a check's rule says what it does

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chaos.http_rules.page import PATH, Page, check, hit
from chaos.traffic.client import Request


@check("9111 3.5: credentials outside of the key are not seen, so what they ask for is for all")
async def authorization(page: Callable[..., Page]) -> bool:
    one, credentials = page(), {"Authorization": "Bearer x"}
    first, second, third = await one.ask(credentials), await one.ask(credentials), await one.ask()
    return len({first.body, second.body, third.body}) == 1 and hit(second) and hit(third)


@check("9111 3.5: ... and an answer says public only where no key has who asks")
async def authorization_public(page: Callable[..., Page]) -> bool:
    token = Request("/chaos/store/token", headers=(("Authorization", "Bearer x"),))
    answer = await page().connection.exchange(token)
    return (
        answer.headers["cache-control"].startswith("private")
        and "public" in ((await page().ask()).headers["cache-control"])
    )


@check("9111 4: another query is another page, another order of its names the same")
async def query(page: Callable[..., Page]) -> bool:
    one = page()
    plain, other = await one.ask(), await one.ask(size="1")
    a = await one.connection.exchange(Request(f"{PATH}?case={one.number}&size=2"))
    b = await one.connection.exchange(Request(f"{PATH}?size=2&case={one.number}"))
    return plain.body != other.body and a.body == b.body and hit(b)


@check("9111 4: another host is another page")
async def host(page: Callable[..., Page]) -> bool:
    one = page()
    await one.ask()
    other = await one.connection.exchange(
        Request(f"{PATH}?case={one.number}", headers=(("X-Forwarded-Host", "evil"),))
    )
    request = f"GET {PATH}?case={one.number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    one.connection.writer.write(request.encode())
    return hit(other) and not hit(await one.connection.read_answer())


@check("9111 4.1: a page that varies has an answer for each value of the field")
async def vary(page: Callable[..., Page]) -> bool:
    one = page()
    german, english = await one.ask({"X-Lang": "de"}), await one.ask({"X-Lang": "en"})
    again, none = await one.ask({"X-Lang": "de"}), await one.ask()
    return (
        hit(again)
        and german.body == again.body
        and len({german.body, english.body, none.body}) == 3  # noqa: PLR2004
    )


@check("9111 4.1: a Vary on what no route sees makes no variants")
async def vary_unseen(page: Callable[..., Page]) -> bool:
    one = page(vary="X-Other")
    first, second = await one.ask({"X-Other": "a"}), await one.ask({"X-Other": "b"})
    return hit(second) and first.body == second.body


@check("9111 4.1: the answer names what it varies on")
async def vary_named(page: Callable[..., Page]) -> bool:
    one = page(vary="X-Other")
    await one.ask()
    named = (await one.ask()).headers.get("vary", "").lower()
    return "x-lang" in named and "x-other" in named


@check("9110 12.5.3: every coding has its own stored answer, which no other client gets")
async def codings(page: Callable[..., Page]) -> bool:
    one, found = page(size="5000"), {}
    for coding in ("zstd", "br", "gzip", "identity"):
        await one.ask({"Accept-Encoding": coding})
        answer = await one.ask({"Accept-Encoding": coding})
        if not hit(answer) or int(answer.headers["content-length"]) != len(answer.body):
            return False
        found[answer.headers.get("content-encoding", "identity")] = answer
    tags = {answer.headers["etag"] for answer in found.values()}
    varied = all("accept-encoding" in one.headers["vary"].lower() for one in found.values())
    return set(found) == {"zstd", "br", "gzip", "identity"} and len(tags) == 4 and varied  # noqa: PLR2004


@check("9111 4.2.3: Age grows, and is absent or 0 on what was just made")
async def age(page: Callable[..., Page]) -> bool:
    one = page()
    first = await one.ask()
    await asyncio.sleep(1.2)
    second = await one.ask()
    return first.headers.get("age", "0") == "0" and second.headers["age"] in {"1", "2"}


@check("9111 4.2.3: the age that an answer arrived with counts")
async def age_of_origin(page: Callable[..., Page]) -> bool:
    one = page(age="30", **{"cache-control": "max-age=50"})
    await one.ask()
    answer = await one.ask()
    return hit(answer) and answer.headers["age"] in {"30", "31"}


@check("9111 4.2: what is too old is not served")
async def expiry(page: Callable[..., Page]) -> bool:
    one = page(**{"cache-control": "max-age=1"})
    first, second = await one.ask(), await one.ask()
    await asyncio.sleep(1.1)
    third = await one.ask()
    return first.body == second.body != third.body
