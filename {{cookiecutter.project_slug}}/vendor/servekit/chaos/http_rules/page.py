"""A page of its own for every rule, and the table of rules."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from chaos.traffic.client import Answer, Connection, Request

PATH = "/chaos/store/answer"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = "Wed, 21 Oct 2025 07:28:00 GMT"
FAR = "Mon, 21 Oct 2097 07:28:00 GMT"
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
