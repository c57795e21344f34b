"""Open-loop load far beyond what is served: one request, a lean client."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from urllib.parse import urlsplit

from chaos.traffic.client import Request
from chaos.traffic.load import Outcome, Sample

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HEAD_END = b"\r\n\r\n"


class Surge:
    """One request, sent at random moments that average `rate` a second, whatever comes back."""

    def __init__(self, base_url: str, request: Request, *, connections: int = 256) -> None:
        parts = urlsplit(base_url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.request = request.encode()
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()
        self._waiting: deque[float] = deque()
        self._connections = connections
        self._opening = 0
        self._samples: list[Sample] = []
        self._begin = 0.0
        self._due = 0

    async def run(
        self,
        *,
        rate: float,
        seconds: float,
        burst: int = 1,
        even: bool = False,
        patience: float = 5,
    ) -> Outcome:
        """Send for `seconds`, `burst` requests each time; wait `patience` for what is still out."""
        self._samples = []
        moments = random.Random(0)
        self._begin = time.perf_counter()
        at = 0.0
        gap = burst / rate
        while (at := at + (gap if even else moments.expovariate(1 / gap))) < seconds:
            delay = self._begin + at - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            self._due += burst
            for _ in range(burst):
                self._send(at)
        until = time.perf_counter() + patience
        while self._due and time.perf_counter() < until:  # noqa: ASYNC110 - polled for its end
            await asyncio.sleep(0.02)
        self._close()
        return Outcome(self._samples, seconds)

    def _close(self) -> None:
        for wire in list(self._wires):
            if wire.sent is not None:
                self.ended(wire.sent, 0, "timeout")
            wire.surge = None
            wire.transport.abort()
        for at in self._waiting:
            self.ended(at, 0, "timeout")
        self._wires.clear()
        self._idle.clear()
        self._waiting.clear()

    def _send(self, at: float) -> None:
        if self._idle:
            self._idle.pop().send(at)
            return
        self._waiting.append(at)
        if len(self._wires) + self._opening < self._connections:
            self._opening += 1
            asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: Wire(self), *self._address)
        except OSError as error:
            if self._waiting:
                self.ended(self._waiting.popleft(), 0, type(error).__name__)
        finally:
            self._opening -= 1

    def opened(self, wire: Wire) -> None:
        self._wires.add(wire)
        self.free(wire)

    def free(self, wire: Wire) -> None:
        """Give a connection the next request that waits for one."""
        if self._waiting:
            wire.send(self._waiting.popleft())
        else:
            self._idle.append(wire)

    def lost(self, wire: Wire) -> None:
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)
        if wire.sent is not None:
            self.ended(wire.sent, 0, "ConnectionError")

    def ended(self, at: float, status: int, error: str = "") -> None:
        self._due -= 1
        latency = time.perf_counter() - self._begin - at
        self._samples.append(Sample(at, latency, status, error))


class Wire(asyncio.Protocol):
    """A keep-alive connection; every answer must carry its length."""

    def __init__(self, surge: Surge) -> None:
        self.surge: Surge | None = surge
        self.sent: float | None = None
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.surge is not None:
            self.surge.opened(self)

    def send(self, at: float) -> None:
        self.sent = at
        assert self.surge is not None
        self.transport.write(self.surge.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        found = LENGTH.search(self._buffer, 0, end + 2) if end >= 0 else None
        if found is None or len(self._buffer) < end + 4 + int(found[1]) or self.surge is None:
            return
        status, at = int(self._buffer[9:12]), self.sent
        self._buffer = b""
        self.sent = None
        if at is not None:
            self.surge.ended(at, status)
        self.surge.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        if self.surge is not None:
            self.surge.lost(self)
