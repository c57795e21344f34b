"""Open-loop load in a process of its own: `python -m servekit.diagnosis.load URL RATE SECONDS`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0
UNDER_WAY_MAX = 1000


async def send_load(url: str, rate: float, seconds: float) -> dict[str, int]:
    """Send GET requests at times that no answer moves; return how many ended with which status.

    A connection each, so that all workers get some. `failed` are those without an answer, `unsent`
    those that found too many under way.
    """
    ended: Counter[str] = Counter()
    under_way: set[asyncio.Task[None]] = set()

    async def send() -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                ended[await get(url)] += 1
        except (OSError, TimeoutError, IndexError):
            ended["failed"] += 1

    begun = time.monotonic()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        if len(under_way) >= UNDER_WAY_MAX:
            ended["unsent"] += 1
            continue
        task = asyncio.create_task(send())
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return dict(ended)


async def get(url: str) -> str:
    """Return the status of an answer, after its end."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        target = (parts.path or "/") + f"?{parts.query}" * bool(parts.query)
        head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        status = (await reader.readline()).split()[1].decode()
        while await reader.read(65536):
            pass
        return status
    finally:
        writer.close()


if __name__ == "__main__":
    load = send_load(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps(asyncio.run(load)))  # noqa: T201 - the answer
