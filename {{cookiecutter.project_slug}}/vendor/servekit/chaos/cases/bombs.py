"""Small requests that are meant to cost much cost little."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from chaos.cases.workers import MIB
from chaos.report import Figure, case, exactly, soon
from chaos.targets import Running, Target
from chaos.traffic.client import Request

CPU_MS_MAX = 100
LAG_MS_MAX = 100
QUIET_SECONDS = 0.3

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
CSV = ("Content-Type", "text/csv")
REFUSED = {400, 413, 415, 422}
RANGES_REFUSED = {200, 400, 416}
"""A server may ignore a Range and send all of it (RFC 9110, 14.2); what it may not do is obey."""


def _bombs() -> Iterator[tuple[str, Request, set[int]]]:
    """Yield a name, the request, and how it may be answered."""
    zeros = b"0" * (50 * MIB)
    packed = gzip.compress(zeros)
    yield "50 MiB of gzip", _post("/chaos/json", packed, JSON, coding="gzip"), REFUSED
    deflated = zlib.compress(packed)
    yield "gzip in deflate", _post("/chaos/json", deflated, JSON, coding="gzip, deflate"), REFUSED
    yield "1 M form fields", _post("/chaos/form", b"a=1&" * 1_000_000, FORM), REFUSED
    yield "form fields in 1 MB", _post("/chaos/form", b"a=1&" * 250_000, FORM), REFUSED
    parts = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 15_000
    multipart = ("Content-Type", "multipart/form-data; boundary=b")
    yield "15,000 parts", _post("/chaos/form", parts + b"--b--\r\n", multipart), REFUSED
    yield "JSON 100,000 deep", _post("/chaos/json", b"[" * 100_000, JSON), REFUSED
    closed = b"[" * 100_000 + b"]" * 100_000
    yield "the same, closed", _post("/chaos/json", closed, JSON), REFUSED
    objects = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "objects 100,000 deep", _post("/chaos/json", objects, JSON), REFUSED
    digits = b"[" + b"9" * 1_000_000 + b"]"
    yield "a number of 1 M digits", _post("/chaos/json", digits, JSON), REFUSED
    apart = ",".join(f"{number}-{number}" for number in range(0, 2000, 2))
    yield "1,000 ranges", _ranges(apart), RANGES_REFUSED
    overlapping = ",".join(f"{number}-" for number in range(1000))
    yield "1,000 that overlap", _ranges(overlapping), RANGES_REFUSED


def _ranges(wanted: str) -> Request:
    return Request("/chaos/file", headers=(("Range", f"bytes={wanted}"),))


def _post(path: str, body: bytes, kind: tuple[str, str], coding: str = "") -> Request:
    headers = (kind, ("Content-Encoding", coding)) if coding else (kind,)
    return Request(path, "POST", headers, body)


@case(33, "parser bombs: compressed, many fields, deep, many ranges")
async def bombs(target: Target) -> list[Figure]:
    """Throw each at the only worker of a service that others use meanwhile."""
    figures = []
    async with target.start(WORKERS="1") as running:
        await running.get("/chaos/file")
        pids = await running.pids(workers=1 if not target.plain else 2)
        for name, request, allowed in _bombs():
            status, cpu_ms, lag_ms = await _throw(running, request, pids)
            refused = "refused" if status in allowed else str(status)
            figures += [
                exactly(name, refused, "refused"),
                soon(f"{name}: CPU", cpu_ms, CPU_MS_MAX),
                soon(f"{name}: others wait", lag_ms, LAG_MS_MAX),
            ]
    return figures


async def _throw(running: Running, request: Request, pids: set[int]) -> tuple[int, float, float]:
    """Send a bomb; return its status, the workers' CPU time and the longest wait of others."""
    stop = asyncio.Event()
    watching = asyncio.create_task(_longest_wait(running, stop))
    await asyncio.sleep(QUIET_SECONDS)
    begin = _cpu_seconds(pids)
    status = await _status(running, request)
    used = _cpu_seconds(pids) - begin
    await asyncio.sleep(QUIET_SECONDS)
    stop.set()
    return status, used * 1e3, await watching * 1e3


async def _status(running: Running, request: Request) -> int:
    try:
        return (await running.exchange(request, seconds=20)).status
    except (OSError, EOFError, TimeoutError):
        return 0


async def _longest_wait(running: Running, stop: asyncio.Event) -> float:
    """Ask for something small all the time; return the longest that took, in seconds."""
    longest = 0.0
    while not stop.is_set():
        begin = time.perf_counter()
        await running.get("/chaos/ping", seconds=20)
        longest = max(longest, time.perf_counter() - begin)
        await asyncio.sleep(0.01)
    return longest


def _cpu_seconds(pids: set[int]) -> float:
    """Return the CPU time that all threads of these processes have had."""
    times = [
        int(path.read_text().split()[0])
        for pid in pids
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    ]
    return sum(times) / 1e9
