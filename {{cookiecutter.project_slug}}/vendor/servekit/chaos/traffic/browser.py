"""A client with a session: it keeps its cookie as a browser does, and asks whichever worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from chaos.targets import Running
from chaos.traffic.client import Answer, Connection, Request

COOKIE = "dev-session"
GONE = ("max-age=0", "1970")
"""What a cookie that is taken away says of its lifetime."""


class Browser:
    """One user agent; `cookie` is the session's, empty without one."""

    def __init__(self, running: Running, cookie: str = "") -> None:
        self.cookie = cookie
        self._address = running.address

    async def ask(
        self, method: str, path: str, *, data: Any = None, on: Connection | None = None
    ) -> Answer:
        """Ask on a connection of its own, or on one that is given; keep the cookie that comes."""
        request = request_of(method, path, data=data, cookie=self.cookie)
        async with asyncio.timeout(20):
            if on is not None:
                answer = await on.exchange(request)
            else:
                connection = await Connection.open(self._address)
                try:
                    answer = await connection.exchange(request)
                finally:
                    connection.close()
        self._keep(answer.headers.get("set-cookie", ""))
        return answer

    def _keep(self, field: str) -> None:
        value, _, attributes = field.partition(";")
        if not value.startswith(f"{COOKIE}="):
            return
        gone = any(word in attributes.lower() for word in GONE)
        self.cookie = "" if gone else value.removeprefix(f"{COOKIE}=")


def request_of(method: str, path: str, *, data: Any = None, cookie: str = "") -> Request:
    """Return a request with JSON `data` and the session's cookie."""
    headers = [("Cookie", f"{COOKIE}={cookie}")] if cookie else []
    body = b""
    if data is not None:
        headers.append(("Content-Type", "application/json"))
        body = json.dumps(data).encode()
    return Request(path, method, tuple(headers), body)


@contextlib.asynccontextmanager
async def each_worker(running: Running, workers: int = 2) -> AsyncIterator[list[Connection]]:
    """Give one open connection to every worker."""
    found: dict[int, Connection] = {}
    others: list[Connection] = []
    try:
        async with asyncio.timeout(20):
            while len(found) < workers:
                connection = await Connection.open(running.address)
                await connection.exchange(Request("/chaos/ping"))
                if connection.worker in found:
                    others.append(connection)  # open for now: the next one goes elsewhere
                else:
                    found[connection.worker] = connection
        yield list(found.values())
    finally:
        for connection in (*found.values(), *others):
            connection.close()
