"""Errors tell the operator everything and the client nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from urllib.parse import quote

from chaos.report import Figure, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.client import Answer, Connection, Request

LOG_SECONDS = 5.0
PLACES = {
    "handler": "/chaos/raise",
    "middleware": "/chaos/raise-early/",
    "background task": "/chaos/raise-later",
    "stream": "/chaos/raise-midway",
}
FAILED_BEFORE_ANSWERING = ("handler", "middleware")

TELLING = ("Traceback", "RuntimeError", ".py", "uvicorn", "starlette", "python", "0.1.0")
"""Words of a trace, of the message or of a version."""

FORGED = "FORGED"
LINES = f"\r\n{FORGED} {{}}\n\x1b[2J\x1b]0;{FORGED}\x07\x85{FORGED}\u2028{FORGED}\x08"


@case(35, "errors in handler, middleware, background task and stream; forged log lines")
async def errors(target: Target) -> list[Figure]:
    """Fail in four places, then write into every field that reaches the log."""
    figures = []
    async with target.start() as running:
        for place, path in PLACES.items():
            figures += await _fail(running, place, path)
        await _write_into_the_log(running)
        broken = sum(not _is_json(line) for line in running.log.splitlines())
        figures.append(exactly("lines of the log that are not one JSON object", broken, 0))
        figures.append(exactly("forged lines, as JSON", sum(_forged(running.log)), 0))
    async with target.start(LOG_FORMAT="console") as running:
        await _write_into_the_log(running)
        figures.append(exactly("forged lines, for a terminal", sum(_forged(running.log)), 0))
    return figures


async def _fail(running: Running, place: str, path: str) -> list[Figure]:
    """Fail once; see what the client gets and how often the log tells of it."""
    request_id = f"case-35-{place.replace(' ', '-')}"
    answer = await _ask(running, Request(path, headers=(("X-Request-ID", request_id),)))
    figures = []
    if place in FAILED_BEFORE_ANSWERING:
        kind = answer.headers.get("content-type", "none")
        figures.append(exactly(f"{place}: answer", f"{answer.status} {kind}", PROBLEM))
    text = (answer.body.decode() + str(answer.headers)).lower()
    told = [word for word in TELLING if word.lower() in text]
    figures.append(exactly(f"{place}: told to the client", " ".join(told) or "nothing", "nothing"))
    records = await _records(running, request_id)
    figures.append(exactly(f"{place}: records with the request's id", records, 1))
    return figures


PROBLEM = "500 application/problem+json"


async def _ask(running: Running, request: Request) -> Answer:
    with contextlib.suppress(EOFError, OSError):
        return await running.exchange(request)
    return Answer(0)


async def _records(running: Running, request_id: str) -> int:
    """Return how many records of the log hold the trace of this request's error."""

    def count() -> int:
        found = [json.loads(line) for line in running.log.splitlines() if _is_json(line)]
        return sum(
            "RuntimeError" in one.get("exception", "") and one.get("request_id") == request_id
            for one in found
        )

    for _ in range(int(LOG_SECONDS / 0.05)):
        if count():
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # a second one would follow at once
    return count()


async def _write_into_the_log(running: Running) -> None:
    """Send line ends and commands for terminals wherever a client's text may reach the log."""
    text = quote(LINES)
    await _ask(running, Request(f"/chaos/raise?text={text}"))
    await _ask(running, Request(f"/chaos/{text}"))
    await _ask(running, Request(f"/products/{text}?q={text}"))
    for name in ("X-Request-ID", "User-Agent", "Traceparent", "X-Forwarded-For", "Origin"):
        for piece in ("\x1b[2J", "\x85" + FORGED, "\x08" + FORGED, "a\r\n FORGED"):
            await _raw(running, f"POST /session HTTP/1.1\r\nHost: localhost\r\n{name}: {piece}")
    await _raw(running, f"GET / HTTP/1.1\r\nHost: {FORGED}\x1b[2J")
    await _raw(running, f"{FORGED}\x1b[2J / HTTP/1.1\r\nHost: localhost")
    await running.get("/chaos/ping")


async def _raw(running: Running, head: str) -> None:
    with contextlib.suppress(EOFError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            connection = await Connection.open(running.address)
            connection.writer.write(head.encode("latin-1") + b"\r\nConnection: close\r\n\r\n")
            await connection.reader.read()
            connection.close()


def _is_json(line: str) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(json.loads(line), dict)
    return False


def _forged(log: str) -> Iterator[bool]:
    """Yield for each line, as viewers of all kinds break them, whether a client wrote it."""
    for line in log.splitlines():
        yield line.startswith(FORGED) or "\x1b[2J" in line or "\x1b]0" in line
