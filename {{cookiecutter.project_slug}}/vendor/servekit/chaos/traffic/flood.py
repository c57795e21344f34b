"""Closed-loop load from one process, several times what a Python service answers.

`python -m chaos.traffic.flood HOST PORT PATH CONNECTIONS SECONDS` prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RETRY = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)


@dataclass
class Seen:
    """Latencies in seconds, answers by status, the longest body, every Retry-After."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    body_bytes: int = 0
    retry_after: set[str] = field(default_factory=set)


class Client(asyncio.Protocol):
    """A connection that asks again as soon as it is answered, until `until`."""

    def __init__(self, request: bytes, until: float, seen: Seen) -> None:
        self._request = request
        self._until = until
        self._seen = seen
        self._sent = 0.0
        self._buffer = b""
        self._transport: asyncio.Transport
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # uvloop's is no subclass
        self._ask()

    def _ask(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        found = LENGTH.search(self._buffer) if end >= 0 else None
        if found is None or len(self._buffer) < end + 4 + int(found[1]):
            return
        now = time.perf_counter()
        seen = self._seen
        seen.latencies.append(now - self._sent)
        seen.statuses[int(self._buffer[9:12])] += 1
        if len(seen.latencies) % 100 == 0:
            seen.body_bytes = max(seen.body_bytes, int(found[1]))
            retry = RETRY.search(self._buffer)
            seen.retry_after.add(retry[1].decode() if retry else "")
        self._buffer = b""
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self.done.set_result(None)


async def flood(host: str, port: int, path: str, connections: int, seconds: float) -> Seen:
    """Ask over so many connections for so long."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    seen = Seen()
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(request, until, seen), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return seen


def main() -> None:
    """Run, and print requests a second, p99 in milliseconds, and the rest."""
    import uvloop

    host, port, path, connections, seconds = sys.argv[1:]
    seen = uvloop.run(flood(host, int(port), path, int(connections), float(seconds)))
    seen.latencies.sort()
    print(
        json.dumps(
            {
                "per_second": len(seen.latencies) / float(seconds),
                "p99_ms": seen.latencies[len(seen.latencies) * 99 // 100] * 1e3,
                "statuses": seen.statuses,
                "body_bytes": seen.body_bytes,
                "retry_after": sorted(seen.retry_after),
            }
        )
    )


if __name__ == "__main__":
    main()
