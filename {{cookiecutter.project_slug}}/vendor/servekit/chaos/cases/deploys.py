"""Stopping, reloading and starting lose nothing, and say what is wrong."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import socket
import time

from chaos.report import Figure, at_least, at_most, case, exactly, slower, timed
from chaos.targets import Running, Target
from chaos.traffic.client import Connection, Request
from chaos.traffic.load import Load, Outcome

RATE = 200
QUICK = Request("/chaos/wait?seconds=0.1")
MIXED = [*[QUICK] * 19, Request("/chaos/wait?seconds=2")]
OK, UNAVAILABLE = 200, 503


@case(20, "SIGTERM at 200 rps, requests of 100 ms to 2 s")
async def sigterm(target: Target) -> list[Figure]:
    """Stop under load: what was sent before and while draining is answered."""
    delay, before = target.pace(2, 1), target.pace(3, 1.5)
    async with target.start(DRAIN_DELAY_SECONDS=f"{delay}", TIMEOUT_DRAIN_SECONDS="10") as running:
        load = Load(running.url)
        sending = asyncio.create_task(load.run(running.traffic(*MIXED), rate=RATE, seconds=60))
        await asyncio.sleep(before)
        running.signal(signal.SIGTERM)
        stopping = time.monotonic()
        await asyncio.sleep(delay * 0.5)  # what is sent late comes before the port closes, too
        load.stop()
        outcome = await sending
        code = await running.exit_code()
        took = time.monotonic() - stopping
    return [
        timed(at_least("requests sent", len(outcome.samples), 0.9 * RATE * (before + 0.5 * delay))),
        exactly("failed", outcome.failed + outcome.statuses[UNAVAILABLE], 0),
        exactly("exit code", "none" if code is None else code, 0),
        timed(at_most("seconds to exit", took, delay + 10 + 2, " s")),
    ]


@case(21, "three rolling restarts at 200 rps")
async def rolling_restarts(target: Target) -> list[Figure]:
    """Reload under load: every worker is a new process after each, and nothing fails."""
    seconds, pause = target.pace(31, 9), target.pace(4, 0.2)
    async with target.start() as running:
        load = Load(running.url)
        # For as long as it takes: a busy machine imports the code anew for many seconds.
        sending = asyncio.create_task(load.run(running.traffic(QUICK), rate=RATE, seconds=300))
        enough = asyncio.create_task(asyncio.sleep(seconds))
        generations = [await running.pids()]
        for _ in range(3):
            await asyncio.sleep(pause)
            running.signal(signal.SIGHUP)
            await asyncio.sleep(pause + 1)
            generations.append(await _renewed(running, generations[-1], 30))
        await enough
        load.stop()
        outcome = await sending
    renewed = sum(not (old & new) for old, new in itertools.pairwise(generations))
    return [
        timed(at_least("requests sent", len(outcome.samples), target.pace(6000, 1700))),
        exactly("failed", outcome.failed, 0),
        timed(exactly("refused", outcome.statuses[UNAVAILABLE], 0)),
        exactly("complete renewals", renewed, 3),
    ]


async def _renewed(running: Running, old: set[int], seconds: float) -> set[int]:
    """Return the processes that answer once no old one does, or what answers when time is up."""
    until = time.monotonic() + seconds
    while (now := await running.pids()) & old and time.monotonic() < until:  # noqa: ASYNC110 - it asks
        await asyncio.sleep(0.1)
    return now


async def _hold_half_a_body(running: Running) -> Connection:
    connection = await Connection.open(running.address)
    connection.writer.write(b"POST /chaos/body HTTP/1.1\r\nHost: localhost\r\n")
    connection.writer.write(b"Content-Length: 100\r\n\r\nabc")
    return connection


async def _hold_events(running: Running) -> Connection:
    connection = await Connection.open(running.address)
    connection.writer.write(Request("/chaos/events").encode())
    await connection.reader.readuntil(b"tick")
    return connection


async def _hold_socket(running: Running) -> Connection:
    connection = await Connection.open(running.address)
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    connection.writer.write(
        f"GET /chaos/socket HTTP/1.1\r\nHost: localhost\r\n{upgrade}{key}".encode()
    )
    await connection.reader.readuntil(b"\r\n\r\n")
    return connection


async def _hold_idle(running: Running) -> Connection:
    connection = await Connection.open(running.address)
    await connection.exchange(Request("/chaos/ping"))
    return connection


@case(24, "SIGTERM with half a body, idle, SSE and WebSocket clients")
async def stubborn_clients(target: Target) -> list[Figure]:
    """Stop although clients never finish."""
    grace = target.pace(3, 1)
    async with target.start(TIMEOUT_DRAIN_SECONDS=f"{grace}") as running:
        await running.pids()  # a worker that never served has no lifespan to end
        holders = (_hold_half_a_body, _hold_events, _hold_socket, _hold_idle)
        held = [await hold(running) for hold in holders]
        running.signal(signal.SIGTERM)
        begin = time.monotonic()
        code = await running.exit_code(seconds=15)
        took = time.monotonic() - begin
        ended = running.log.count("worker_stopped")
        for connection in held:
            connection.close()
    return [
        timed(at_most("seconds to exit", took, grace + 2, " s")),
        exactly("exit code", "none" if code is None else code, 0),
        exactly("workers that ran their lifespan's end", ended, 2),
    ]


NOWHERE = "redis://127.0.0.1:1/0"
OVERLOAD = Request("/chaos/cpu?ms=5")


@case(25, "broken starts", compared=False)
async def broken_starts(target: Target) -> list[Figure]:
    """Start with a bad setting, a taken port, and without Redis."""
    figures = []
    async with target.start(ready=False, WORKERS="many") as running:
        begin = time.monotonic()
        code = await running.exit_code(seconds=10)
        figures += [
            timed(at_most("bad setting: seconds to exit", time.monotonic() - begin, 5, " s")),
            exactly("bad setting: exit code", code or 0, 1),
            exactly("bad setting: lines that name it", running.log.count("WORKERS"), 1),
        ]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with target.start(ready=False, PORT=str(taken.getsockname()[1])) as running:
            code = await running.exit_code(seconds=10)
            figures.append(exactly("taken port: exit code", code or 0, 1))
            figures.append(exactly("taken port: lines", running.log.count("PORT"), 1))
    async with target.start(REDIS_URL=NOWHERE) as running:
        for path in ("/livez", "/readyz", "/chaos/ping"):
            figures.append(exactly(f"no Redis: {path}", (await running.get(path)).status, OK))
    return figures


@case(26, "probes under Redis down, overload and drain")
async def probes(target: Target) -> list[Figure]:
    """Ask both probes in every state: liveness never fails, readiness only while draining."""
    async with target.start(REDIS_URL=NOWHERE, DRAIN_DELAY_SECONDS="5") as running:
        down = await _probe(running, seconds=1)
        load = Load(running.url, connections=400, timeout=10)
        sending = asyncio.create_task(load.run(OVERLOAD, rate=1500 / slower(), seconds=5))
        await asyncio.sleep(0.5)
        overload = await _probe(running, seconds=4)
        await sending
        running.signal(signal.SIGTERM)
        await asyncio.sleep(0.2 * slower())
        drain = await _probe(running, seconds=1)
    return [
        exactly("Redis down: /livez", down[0], "200"),
        exactly("Redis down: /readyz", down[1], "200"),
        exactly("overload: /livez", overload[0], "200"),
        exactly("overload: /readyz", overload[1], "200"),
        exactly("drain: /livez", drain[0], "200"),
        exactly("drain: /readyz", drain[1], "503"),
    ]


async def _probe(running: Running, *, seconds: float) -> tuple[str, str]:
    """Return the statuses that each probe gave, as text."""
    seen: tuple[set[str], set[str]] = (set(), set())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for statuses, path in zip(seen, ("/livez", "/readyz"), strict=True):
            try:
                statuses.add(str((await running.get(path)).status))
            except (OSError, EOFError, TimeoutError) as error:
                statuses.add(type(error).__name__)
        await asyncio.sleep(0.05)
    return " ".join(sorted(seen[0])), " ".join(sorted(seen[1]))


ATTEMPT = "RuntimeError: broken on purpose"
OF_OTHERS = re.compile(
    "GET /chaos|http_request|reload_begins|event_loop_blocked|overload_|request_refused"
).search


@case(28, "crash loop: the application raises at start after a reload")
async def crash_loop(target: Target) -> list[Figure]:
    """Reload into broken code: the old workers serve on, attempts back off, repair is taken up."""
    seconds = 8 * slower()  # each attempt imports the code
    async with target.start() as running:
        before = await running.pids()
        load = Load(running.url)
        before_reload = len(running.log)
        running.break_program(True)
        running.signal(signal.SIGHUP)
        outcome: Outcome = await load.run(running.traffic(QUICK), rate=RATE, seconds=seconds)
        during = await running.pids()
        said = [line for line in running.log[before_reload:].splitlines() if not OF_OTHERS(line)]
        attempts = sum(ATTEMPT in line for line in said)
        running.break_program(False)
        running.signal(signal.SIGHUP)
        after = await _renewed(running, before, 25)
    repaired = bool(after) and not after & before
    return [
        exactly("failed", outcome.failed, 0),
        timed(exactly("refused", outcome.statuses[UNAVAILABLE], 0)),
        exactly("old workers serve", str(during == before), "True"),
        timed(at_least(f"attempts in {seconds:.0f} s", attempts, 2)),
        at_most(f"attempts in {seconds:.0f} s (back-off)", attempts, seconds),
        at_most("lines of log an attempt", len(said) / max(attempts, 1), 1),
        timed(exactly("repaired code is taken up", str(repaired), "True")),
    ]
