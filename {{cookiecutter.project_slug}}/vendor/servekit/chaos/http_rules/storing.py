"""What is stored and what is not: RFC 9111 3, 4.2 and 5.2.2."""

from __future__ import annotations

from chaos.http_rules.page import CHECKS, DATE, FAR, LATER, Page, hit, kept


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
    ("9111 5.3: Expires without a Date", {"expires": FAR}),
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
    ("9111 5.1: the first of several ages", {"age": "30, 0", "cache-control": "max-age=10"}),
    ("9111 5.1: Age over the lifetime", {"age": "30", "cache-control": "max-age=10"}),
]
for _rule, _fields in STORED:
    table(_rule, _fields, stored=True)
for _rule, _fields in NOT_STORED:
    table(_rule, _fields, stored=False)
