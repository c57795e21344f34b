"""Open-loop load in a process of its own, which reads what to send from its input."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from servekit.diagnosis.requests_file import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP_SECONDS = 1.0
"""For which it runs before anything is sampled."""
TIMEOUT_SECONDS = 10.0
UNDER_WAY_MAX = 1000


@dataclass(frozen=True)
class Load:
    """Requests to send in turn to `http://host:port`, so many a second."""

    base: str
    requests: Sequence[Request]
    rate: float
    seconds: float

    def written(self) -> bytes:
        """Return it as the input of the process that sends it."""
        return json.dumps(asdict(self)).encode()


def read_load(text: str) -> Load:
    """Return what was written."""
    told = json.loads(text)
    requests = [Request(**one) for one in told.pop("requests")]
    return Load(requests=requests, **told)


async def send_load(load: Load) -> dict[str, int]:
    """Send requests at times that no answer moves; return how many ended with which status.

    A connection each, so that all workers get some. `failed: ` and why are those without an answer,
    `unsent` those that found too many under way.
    """
    ended: Counter[str] = Counter()
    under_way: set[asyncio.Task[None]] = set()
    address = urlsplit(load.base)
    heads = cycle([message(request, address.netloc) for request in load.requests])

    async def send(data: bytes) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                ended[await exchange(data, address.hostname, address.port or 80)] += 1
        except TimeoutError:
            ended[f"failed: no answer within {TIMEOUT_SECONDS:g} s"] += 1
        except IndexError:
            ended["failed: closed without an answer"] += 1
        except OSError as error:
            ended[f"failed: {error.strerror or error}"] += 1

    begun = time.monotonic()
    for number in range(int(load.rate * load.seconds)):
        await asyncio.sleep(max(0.0, begun + number / load.rate - time.monotonic()))
        if len(under_way) >= UNDER_WAY_MAX:
            ended["unsent"] += 1
            continue
        task = asyncio.create_task(send(next(heads)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return dict(ended)


def message(request: Request, host: str) -> bytes:
    """Return a request as it goes over the wire."""
    body = request.body.encode()
    fields = [("Host", host), ("Connection", "close"), *request.headers]
    if body or request.method not in {"GET", "HEAD", "OPTIONS"}:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def exchange(data: bytes, host: str | None, port: int) -> str:
    """Return the status of an answer, after its end."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        status = (await reader.readline()).split()[1].decode()
        while await reader.read(65536):
            pass
        return status
    finally:
        writer.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(send_load(read_load(sys.stdin.read())))))  # noqa: T201 - the answer
