"""The two ends of a run that no client is at: what it is sent, and what it answers."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Send

from servekit.layers.http_headers import Headers, header_value

EVENT_STREAM = b"text/event-stream"
CLIENT_SECONDS = 5.0
"""Time for who had a route run to take an answer that is not kept."""
WITH_BODY = frozenset(range(200, 600)) - {204, 304}


class Capture:
    """An ASGI send that keeps the whole response; `complete` is done when it has all of it.

    What cannot be kept, as `unkept` says why, is handed over to the client who had it run: nothing
    of it is lost, and the route runs once.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._announced: int | None = None
        loop = asyncio.get_running_loop()
        self.complete: asyncio.Future[None] = loop.create_future()
        self._client: asyncio.Future[Send] = loop.create_future()
        self._has_come = loop.create_future()
        self.unkept = self.remedy = ""
        self.status = 500
        self.headers: Headers = []

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    async def __call__(self, message: Message) -> None:
        if self.unkept:
            await (await self._find_client())(message)
        elif message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body":
            await self._continue(message)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        fields = message.get("headers") or ()
        self.headers = [(bytes(name).lower(), bytes(value)) for name, value in fields]
        length = header_value(self.headers, b"content-length")
        self._announced = int(length) if length.isdigit() else None
        if header_value(self.headers, b"content-type").startswith(EVENT_STREAM):
            self._give_up("an event stream may have no end", "drop cache_response")
        elif (self._announced or 0) > self._limit_bytes:
            self._give_up_long()

    async def _continue(self, message: Message) -> None:
        part, more = message.get("body", b""), message.get("more_body", False)
        self._size += len(part)
        if self._size > self._limit_bytes:
            self._give_up_long()
        elif not more and self._announced not in (None, self._size) and self.status in WITH_BODY:
            self._give_up(
                f"the body has {self._size} bytes, its Content-Length says {self._announced}",
                "send the whole body, or no Content-Length",
            )
        if self.unkept:
            await (await self._find_client())(message)
            return
        self._parts.append(bytes(part))
        if not more and not self.complete.done():
            self.complete.set_result(None)

    def _give_up_long(self) -> None:
        self._give_up(
            f"the body is longer than {self._limit_bytes} bytes",
            "send less, or drop cache_response",
        )

    def _give_up(self, reason: str, remedy: str) -> None:
        self.unkept, self.remedy = reason, remedy
        if not self.complete.done():
            self.complete.set_result(None)

    async def _find_client(self) -> Send:
        """Wait for the client's `send`; who has left is not coming."""
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await asyncio.shield(self._has_come)
        except TimeoutError:
            raise OSError("The client of this answer has left.") from None
        return await asyncio.shield(self._client)  # he takes what was kept as fast as he can

    async def hand_over(self, run: asyncio.Task[None], send: Send) -> None:
        """Send on what was kept so far and all that follows, until the run has ended."""
        self._has_come.set_result(None)
        try:
            start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
            await send(start)
            if self._parts:
                await send({"type": "http.response.body", "body": self.body, "more_body": True})
                self._parts.clear()
            self._client.set_result(send)
            await run
        finally:
            run.cancel()

    def end(self, run: asyncio.Task[None]) -> None:
        """Hear that the run has ended, whether it answered or not."""
        if self.complete.done():
            return
        if run.cancelled():
            self.complete.cancel()
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
