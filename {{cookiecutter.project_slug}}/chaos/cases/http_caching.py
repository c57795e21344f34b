"""The response cache is a shared cache by the letter: RFC 9111, 9110, 5861 and 9211."""
# ruff: noqa: D103 - a check's rule says what it does

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from chaos.client import Answer, Connection, Request
from chaos.redis_servers import toxic_redis
from chaos.report import Figure, at_least, case, exactly
from chaos.targets import Running, Target

PATH = "/chaos/store/answer"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = "Wed, 21 Oct 2025 07:28:00 GMT"
NUMBERS = itertools.count(1)

Headers = dict[str, str]


@dataclass
class Page:
    """A page of its own on one worker; `fields` are what its route answers."""

    connection: Connection
    fields: dict[str, str | list[str]] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(NUMBERS))

    async def ask(self, headers: Headers | None = None, method: str = "GET", **more: str) -> Answer:
        """Ask for it; `more` are further parameters."""
        query = urlencode({"case": self.number, **self.fields, **more}, doseq=True)
        request = Request(f"{PATH}?{query}", method=method, headers=tuple((headers or {}).items()))
        return await self.connection.exchange(request)


Check = Callable[[Callable[..., Page]], Awaitable[bool]]
CHECKS: dict[str, Check] = {}


def check(rule: str) -> Callable[[Check], Check]:
    """Register a check under the rule that it holds."""

    def register(function: Check) -> Check:
        CHECKS[rule] = function
        return function

    return register


def hit(answer: Answer) -> bool:
    """Return whether an answer came from the cache, by what it says of itself."""
    return "; hit" in answer.headers.get("cache-status", "")


async def kept(page: Page, first: Headers | None = None, second: Headers | None = None) -> bool:
    """Return whether a second request is answered with the first one's page."""
    one, two = await page.ask(first), await page.ask(second)
    return hit(two) and one.body == two.body


async def _kept(page: Page) -> bool:
    return await kept(page)


async def _not_kept(page: Page) -> bool:
    one, two = await page.ask(), await page.ask()
    return not hit(two) and one.body != two.body


def table(rule: str, fields: dict[str, str | list[str]], *, stored: bool) -> None:
    """Register a check of what an answer must have or not have to be stored."""
    judge = _kept if stored else _not_kept
    CHECKS[f"{rule}: {'stored' if stored else 'not stored'}"] = lambda page: judge(page(**fields))


STORED: list[tuple[str, dict[str, str | list[str]]]] = [
    ("9111 3: 200 without a word", {}),
    ("9111 3: max-age", {"cache-control": "max-age=10"}),
    ("9111 3: public", {"cache-control": "public"}),
    ("9111 5.2.2.10: s-maxage beats max-age=0", {"cache-control": "max-age=0, s-maxage=10"}),
    ("9111 5.3: Expires in the future", {"date": DATE, "expires": LATER}),
    ("9111 5.3: max-age beats Expires", {"expires": DATE, "cache-control": "max-age=10"}),
    ("9111 5.2: unknown directives are ignored", {"cache-control": "max-age=10, colour=blue"}),
    ("9111 5.2: names in any case", {"cache-control": "MAX-AGE=10"}),
    ("9111 5.2: quoted argument", {"cache-control": 'max-age="10"'}),
    ("9110 15: 301", {"status": "301", "location": "/"}),
    ("9110 15: 204", {"status": "204"}),
    ("9110 15: 404, where the author says so", {"status": "404"}),
    ("9110 15: 410, where the author says so", {"status": "410"}),
    ("9111 4.1: Vary on a coding", {"vary": "Accept-Encoding"}),
    ("9111 5.2.2.2: must-revalidate, while fresh", {"cache-control": "max-age=9, must-revalidate"}),
]
NOT_STORED: list[tuple[str, dict[str, str | list[str]]]] = [
    ("9111 5.2.2.5: no-store", {"cache-control": "no-store"}),
    ("9111 5.2.2.7: private", {"cache-control": "private, max-age=10"}),
    ("9111 5.2.2.7: private with fields", {"cache-control": 'private="x-a", max-age=10'}),
    ("9111 5.2.2.4: no-cache", {"cache-control": "no-cache"}),
    ("9111 5.2.2.4: no-cache with fields", {"cache-control": 'no-cache="set-cookie"'}),
    ("9111 5.2: any of several lines", {"cache-control": ["max-age=10", "no-store"]}),
    ("9111 4.2.1: max-age=0", {"cache-control": "max-age=0"}),
    ("9111 4.2.1: max-age that is no number", {"cache-control": "max-age=soon"}),
    ("9111 4.2.1: s-maxage=0 beats max-age", {"cache-control": "s-maxage=0, max-age=10"}),
    ("9111 5.3: Expires in the past", {"date": LATER, "expires": DATE}),
    ("9111 5.3: Expires: 0", {"expires": "0", "date": DATE}),
    ("9111 4.1: Vary: *", {"vary": "*"}),
    ("9111 4.1: Vary: * among others", {"vary": "Accept, *"}),
    ("9111 7.3: Set-Cookie", {"set-cookie": "a=b"}),
    ("9111 7.3: Set-Cookie, although public", {"set-cookie": "a=b", "cache-control": "public"}),
    ("9111 3.4: 206", {"status": "206", "content-range": "bytes 0-1/9"}),
    ("9110 15: 302", {"status": "302", "location": "/"}),
    ("9110 15: 403", {"status": "403"}),
    ("9110 15: 500", {"status": "500"}),
    ("9110 15: 503", {"status": "503"}),
    ("9111 5.1: Age over the lifetime", {"age": "30", "cache-control": "max-age=10"}),
]
for _rule, _fields in STORED:
    table(_rule, _fields, stored=True)
for _rule, _fields in NOT_STORED:
    table(_rule, _fields, stored=False)


@check("9111 3.5: a request with Authorization is neither answered from the cache nor stored")
async def authorization(page: Callable[..., Page]) -> bool:
    one, credentials = page(), {"Authorization": "Bearer x"}
    first, second = await one.ask(credentials), await one.ask(credentials)
    third = await one.ask()
    return len({first.body, second.body, third.body}) == 3 and not hit(third)  # noqa: PLR2004


@check("9111 3.5: ... and public does not change that")
async def authorization_public(page: Callable[..., Page]) -> bool:
    one = page(**{"cache-control": "public"})
    await one.ask({"Authorization": "Bearer x"})
    return not hit(await one.ask())


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
    one = page(vary="X-Lang")
    await one.ask({"X-Lang": "de"})  # the field is learned
    german, english = await one.ask({"X-Lang": "de"}), await one.ask({"X-Lang": "en"})
    again, none = await one.ask({"X-Lang": "de"}), await one.ask()
    return (
        hit(again)
        and german.body == again.body
        and len({german.body, english.body, none.body}) == 3  # noqa: PLR2004
    )


@check("9111 4.1: the answer names what it varies on")
async def vary_named(page: Callable[..., Page]) -> bool:
    one = page(vary="X-Lang")
    await one.ask({"X-Lang": "de"})
    await one.ask({"X-Lang": "de"})
    return "x-lang" in (await one.ask({"X-Lang": "de"})).headers.get("vary", "").lower()


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


@check("9111 4.3: If-None-Match of the page: 304 without a body, with its validators")
async def not_modified(page: Callable[..., Page]) -> bool:
    one = page(**{"cache-control": "max-age=10"})
    tag = (await one.ask()).headers["etag"]
    answer = await one.ask({"If-None-Match": tag})
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


def requested(rule: str, control: str, *, served: bool) -> None:
    """Register a check of a request's Cache-Control against a fresh page."""

    async def run(page: Callable[..., Page]) -> bool:
        one = page()
        first = await one.ask()
        await asyncio.sleep(0.02)
        answer = await one.ask({"Cache-Control": control})
        return (hit(answer) and answer.body == first.body) == served

    CHECKS[rule] = run


for _rule, _control, _served in [
    ("9111 5.2.1.4: no-cache runs the route", "no-cache", False),
    ("9111 5.2.1.5: no-store runs the route", "no-store", False),
    ("9111 5.2.1.1: max-age=0 runs the route", "max-age=0", False),
    ("9111 5.2.1.1: max-age=5 takes a new page", "max-age=5", True),
    ("9111 5.2.1.3: min-fresh=30 of 60 s", "min-fresh=30", True),
    ("9111 5.2.1.3: min-fresh=90 of 60 s", "min-fresh=90", False),
    ("9111 5.2.1.2: max-stale takes a fresh page", "max-stale=10", True),
    ("9111 5.2.1.7: only-if-cached takes a page", "only-if-cached", True),
]:
    requested(_rule, _control, served=_served)


@check("9111 5.2.1.7: only-if-cached without a page: 504")
async def only_if_cached(page: Callable[..., Page]) -> bool:
    return (await page().ask({"Cache-Control": "only-if-cached"})).status == 504  # noqa: PLR2004


@check("9111 5.4: Pragma: no-cache runs the route where Cache-Control is absent")
async def pragma(page: Callable[..., Page]) -> bool:
    one = page()
    await one.ask()
    return not hit(await one.ask({"Pragma": "no-cache"}))


@check("9111 5.2.1.4: what no-cache fetched is what others get from then on")
async def reload(page: Callable[..., Page]) -> bool:
    one = page()
    await one.ask()
    fetched = await one.ask({"Cache-Control": "no-cache"})
    return (await one.ask()).body == fetched.body


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
        return hit(await one.ask())

    CHECKS[f"9111 4.4: {method} that succeeds ends all pages of the path"] = succeeds
    CHECKS[f"9111 4.4: {method} that fails ends none"] = fails


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


async def outcome(name: str, connection: Connection) -> str:
    """Return the rule's name if it is broken, and the error if there was one."""

    def page(**fields: str | list[str]) -> Page:
        return Page(connection, fields)

    try:
        async with asyncio.timeout(10):
            return "" if await CHECKS[name](page) else name
    except Exception as error:  # noqa: BLE001 - whatever breaks a check breaks its rule
        return f"{name} ({error!r})"


async def broken_rules(running: Running) -> list[str]:
    """Run every check on a connection of its own, a few at a time."""
    places = asyncio.Semaphore(1)

    async def one(name: str) -> str:
        async with places:
            connection = await Connection.open(running.address)
            try:
                return await outcome(name, connection)
            finally:
                connection.close()

    return [found for found in await asyncio.gather(*map(one, CHECKS)) if found]


@case(43, "the response cache, rule by rule", compared=False)
async def rules(target: Target) -> list[Figure]:
    """Hold the running service to every rule in the table."""
    begin = time.monotonic()
    async with toxic_redis() as (proxy, _), target.start(REDIS_URL=proxy.url) as running:
        broken = await broken_rules(running)
    for name in broken:
        print(f"     broken: {name}")
    return [
        at_least("rules checked", len(CHECKS), 80),
        exactly("rules broken", len(broken), 0),
        at_least("seconds it took", time.monotonic() - begin, 0),
    ]
