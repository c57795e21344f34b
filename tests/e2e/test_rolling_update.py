"""A rolling update as Kubernetes does it: replicas change under traffic, and nobody notices."""

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

import httpx2
from running import patience

PROBE_SECONDS = 1.0
DRAIN_DELAY_SECONDS = 3
REQUESTS_A_SECOND = 40


class Balancer:
    """Hands each connection to the next replica that was ready when it was last asked."""

    def __init__(self) -> None:
        self.replicas: list[str] = []
        self.ready: list[str] = []
        self._next = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._probing = asyncio.create_task(self._probe())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._probing.cancel()
        self._server.close()
        await asyncio.gather(self._probing, *self._connections, return_exceptions=True)

    async def has(self, *replicas: str) -> None:
        """Wait until it sends requests to all of these."""
        while not set(replicas) <= set(self.ready):  # noqa: ASYNC110 - set by a probe a second
            await asyncio.sleep(0.05)

    async def _probe(self) -> None:
        async with httpx2.AsyncClient(timeout=PROBE_SECONDS) as http:
            while True:
                self.ready = [each for each in self.replicas if await is_ready(http, each)]
                await asyncio.sleep(PROBE_SECONDS)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        self._next += 1
        address = urlsplit(self.ready[self._next % len(self.ready)])
        there, back = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(copy(reader, back), copy(there, writer))


async def is_ready(http: httpx2.AsyncClient, replica: str) -> bool:
    with suppress(httpx2.HTTPError):
        return (await http.get(f"{replica}/readyz")).status_code == 200
    return False


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(2**16):
            target.write(piece)
            await target.drain()
        target.close()
        await target.wait_closed()


async def ask(http: httpx2.AsyncClient, answers: Counter[str]) -> None:
    try:
        answers[str((await http.get("/products/1")).status_code)] += 1
    except httpx2.HTTPError as error:
        answers[repr(error)] += 1


async def traffic(url: str, over: asyncio.Event) -> Counter[str]:
    """Ask at a steady rate, however long answers take; half of it on connections that are kept."""
    answers: Counter[str] = Counter()
    fresh = httpx2.Limits(max_keepalive_connections=0)
    async with (
        httpx2.AsyncClient(base_url=url, timeout=patience(20)) as kept,
        httpx2.AsyncClient(base_url=url, timeout=patience(20), limits=fresh) as new,
        asyncio.TaskGroup() as asking,
    ):
        while not over.is_set():
            for http in (kept, new):
                asking.create_task(ask(http, answers))
            await asyncio.sleep(2 / REQUESTS_A_SECOND)
    return answers


def test_no_request_fails_while_every_replica_is_replaced(start_service, valkey):
    def start():
        return start_service(
            WORKERS=1, REDIS_URL=valkey.url, DRAIN_DELAY_SECONDS=DRAIN_DELAY_SECONDS
        )

    async def update() -> tuple[Counter[str], list[int]]:
        over = asyncio.Event()
        old = [await asyncio.to_thread(start) for _ in range(2)]
        async with Balancer() as balancer:
            balancer.replicas = [each.base_url for each in old]
            await balancer.has(*balancer.replicas)
            asking = asyncio.create_task(traffic(balancer.url, over))
            codes = []
            for each in old:
                new = await asyncio.to_thread(start)
                balancer.replicas.append(new.base_url)
                await balancer.has(new.base_url)
                each.process.send_signal(signal.SIGTERM)
                codes.append(await asyncio.to_thread(each.process.wait, 30))
                balancer.replicas.remove(each.base_url)
            over.set()
            return await asking, codes

    answers, codes = asyncio.run(update())
    print(answers)
    assert set(answers) == {"200"}
    assert codes == [0, 0]
