"""Open-loop load in a process of its own: its input tells what to send, and by its end to end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
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
    """Requests to send in turn to `http://host:port`, so many a second; `host` is their Host."""

    base: str
    requests: Sequence[Request]
    rate: float
    seconds: float
    host: str = ""

    def written(self) -> bytes:
        """Return it as a line for the process that sends it."""
        return json.dumps(asdict(self)).encode() + b"\n"


def read_load(text: str) -> Load:
    """Return what was written."""
    told = json.loads(text)
    requests = [Request(**one) for one in told.pop("requests")]
    return Load(requests=requests, **told)


async def send_load(load: Load, over: asyncio.Event | None = None) -> dict[str, int]:
    """Send requests at times that no answer moves; return how many ended with which status.

    A connection each, so that all workers get some. `failed: ` and why are those without an answer,
    `unsent` those that found too many under way. Once it is `over` no more are sent.
    """
    ended: Counter[str] = Counter()
    under_way: set[asyncio.Task[None]] = set()
    address = urlsplit(load.base)
    heads = cycle([message(request, load.host or address.netloc) for request in load.requests])

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

    async def send_all() -> None:
        begun = time.monotonic()
        for number in range(int(load.rate * load.seconds)):
            await asyncio.sleep(max(0.0, begun + number / load.rate - time.monotonic()))
            if len(under_way) >= UNDER_WAY_MAX:
                ended["unsent"] += 1
                continue
            task = asyncio.create_task(send(next(heads)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    sending = asyncio.create_task(send_all())
    ending = asyncio.create_task((over or asyncio.Event()).wait())
    await asyncio.wait({sending, ending}, return_when=asyncio.FIRST_COMPLETED)
    sending.cancel()
    ending.cancel()
    await asyncio.gather(*under_way)
    return dict(ended)


async def send_until_told() -> dict[str, int]:
    """Send what the first line of the input tells, to its end or to that of the input."""
    told = read_load(sys.stdin.readline())
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        with suppress(RuntimeError):  # the loop is closed: all was sent
            loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait, daemon=True).start()
    return await send_load(told, over)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who reads the answer
    print(json.dumps(asyncio.run(send_until_told())))  # noqa: T201 - the answer
