"""What 150 ms of work does to light requests, on the loop and off it; what handing over costs."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import uvloop
from prometheus_client import CollectorRegistry

from bench.load import run_load
from bench.servers import Server, free_port, started
from bench.work import compute, interpreters
from chaos.traffic.client import Request
from chaos.traffic.surge import Surge
from servekit.offload.cooperative import cooperatively
from servekit.offload.processes import Processes
from servekit.offload.threads import Threads

WAYS = ["inline", "cooperative", "thread", "process"]
if sys.version_info >= (3, 14):
    WAYS.append("interpreter")
SECONDS = 4.0
RATE = 100
PAYLOADS = (0, 10_000, 100_000, 1_000_000)
PARSE_SECONDS = 0.2


@contextlib.contextmanager
def jobs(url: str) -> Iterator[list[float]]:
    """Ask for one job after the other, for none without a URL; yields when each was done."""
    done: list[float] = []
    if not url:
        yield done
        return
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            with urllib.request.urlopen(url) as answer:
                answer.read()
            done.append(time.monotonic())

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


async def p99_ms(server: Server) -> float:
    """Return the 99th percentile of light requests, a hundred a second."""
    outcome = await Surge(server.url, Request("/light")).run(rate=RATE, seconds=SECONDS)
    return outcome.percentile(0.99) * 1e3


async def beside_jobs(server: Server) -> None:
    """Print latency and throughput of light requests while a client asks for job after job."""
    print(f"{'150 ms job after job':22}{'light p99 ms':>14}{'light req/s':>14}{'jobs/s':>9}")
    for way in ("", *WAYS):
        with jobs(f"{server.url}/{way}" if way else "") as done:
            latency = await p99_ms(server)
            load = run_load(
                f"{server.url}/light", connections=8, seconds=SECONDS, headers={}, cpu=None
            )
            per_second = len(done) / (2 * SECONDS)
        name = way or "none"
        print(f"{name:22}{latency:14.1f}{load.requests_per_second:14,.0f}{per_second:9.1f}")


def nothing(payload: bytes) -> int:
    """Do nothing with it."""
    return len(payload)


async def cost(call: Callable[[], Awaitable[object]], times: int = 200) -> tuple[float, float]:
    """Return the microseconds that a call takes, and those that it takes of the loop."""
    await call()
    took, used = [], []
    for _ in range(times):
        began, cpu = time.perf_counter(), time.thread_time()
        await call()
        took.append(time.perf_counter() - began)
        used.append(time.thread_time() - cpu)
    return sorted(took)[times // 2] * 1e6, sorted(used)[times // 2] * 1e6


async def handing_over() -> None:
    """Print what a call costs: less work than that is better done on the loop."""
    print(f"\n{'handing over':28}{'call us':>14}{'of the loop us':>16}")
    registry = CollectorRegistry()
    async with Processes(registry=registry) as processes, Threads(registry=registry) as threads:
        took, used = await cost(lambda: threads.run(nothing, b""))
        print(f"{'thread':28}{took:14.0f}{used:16.0f}")
        for size in PAYLOADS:
            took, used = await cost(partial(processes.run, len, bytes(size)))
            print(f"{f'process, {size:,} bytes':28}{took:14.0f}{used:16.0f}")
    with interpreters() as pool:
        for size in PAYLOADS if pool else ():
            run = asyncio.get_running_loop().run_in_executor
            took, used = await cost(partial(run, pool, len, bytes(size)))
            print(f"{f'interpreter, {size:,} bytes':28}{took:14.0f}{used:16.0f}")


async def lag_of(work: Awaitable[object]) -> tuple[float, float]:
    """Return p99 and maximum in milliseconds of how late a 1 ms timer is meanwhile."""
    lags: list[float] = []
    task = asyncio.ensure_future(work)
    while not task.done():
        due = time.monotonic() + 0.001
        await asyncio.sleep(0.001)
        late = max(0.0, time.monotonic() - due)
        lags += [late - missed * 0.001 for missed in range(int(late / 0.001) + 1)]
    lags.sort()
    return lags[int(len(lags) * 0.99)] * 1e3, lags[-1] * 1e3


async def parsing() -> None:
    """Print the lag that 200 ms of parsing cause, at once and piece by piece."""

    async def at_once() -> None:
        compute(PARSE_SECONDS)

    async def in_pieces() -> None:
        async for _ in cooperatively(range(2000)):
            compute(PARSE_SECONDS / 2000)

    print(f"\n{'200 ms of parsing':22}{'lag p99 ms':>14}{'max ms':>16}")
    for name, work in (("at once", at_once), ("cooperatively", in_pieces)):
        p99, longest = await lag_of(work())
        print(f"{name:22}{p99:14.1f}{longest:16.1f}")


def main() -> None:
    """Run all three."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.offload_app:app"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    with started(command, port=port, path="/light", cpu=None) as server:
        asyncio.run(beside_jobs(server))
    uvloop.run(handing_over())
    uvloop.run(parsing())


if __name__ == "__main__":
    main()
