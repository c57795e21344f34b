"""The two ends of a run that no client is at: what it is sent, and what it answers."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from servekit.layers.http_headers import Headers


class Capture:
    """An ASGI send that keeps the whole response; `complete` is done when it has all of it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.too_long = False
        self.status = 500
        self.headers: Headers = []

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            fields = message.get("headers") or ()
            self.headers = [(bytes(name).lower(), bytes(value)) for name, value in fields]
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self._parts.append(bytes(part))
            self._size += len(part)
            if self._size > self._limit_bytes:
                self.too_long = True
                raise OSError("The answer is longer than what is kept.")  # as if the client left
            if not message.get("more_body", False) and not self.complete.done():
                self.complete.set_result(None)

    def end(self, run: asyncio.Task[None]) -> None:
        """Hear that the run has ended, whether it answered or not."""
        if self.complete.done():
            return
        if run.cancelled():
            self.complete.cancel()
        elif self.too_long:
            self.complete.set_result(None)
        else:
            silent = RuntimeError("The application returned without completing its answer.")
            self.complete.set_exception(run.exception() or silent)


class NoBody:
    """An ASGI receive with an empty body, then silence until the client, if any, leaves."""

    def __init__(self, receive: Receive | None = None) -> None:
        self._receive = receive
        self._received = False

    async def __call__(self) -> Message:
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._receive is None:
            await asyncio.Event().wait()
        else:
            while (message := await self._receive())["type"] != "http.disconnect":
                pass
            return message
        raise AssertionError  # nobody sets that event
