"""The security headers are on every answer, whoever gives it."""

from __future__ import annotations

import asyncio

from chaos.report import Figure, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.client import Answer, Connection, Request
from servekit.redis.embedded import EmbeddedServer

EXPECTED = {
    "strict-transport-security": "max-age=",
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=()",
}
MANY = 200_000
JSON = ("Content-Type", "application/json")

ASKED = {
    "200": Request("/"),
    "200 of a probe": Request("/livez"),
    "401": Request("/session"),
    "403": Request(
        "/session", "POST", (("Origin", "https://evil.example"), ("Cookie", "a=b"), JSON), b"{}"
    ),
    "404": Request("/nowhere"),
    "405": Request("/products", "DELETE"),
    "413": Request("/chaos/body", "POST", body=b"x" * (2 * 2**20)),
    "422": Request("/products/1", "PUT", (JSON,), b"{}"),
    "500": Request("/chaos/raise"),
    "504": Request("/chaos/wait?seconds=5"),
}
RAW = {
    "400 unknown host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "400 at the front door": b"GET / HTTP/1.1\r\n\r\n",
    "408 at the front door": b"GET / HTTP/1.1\r\nHost: localhost\r\nX:",
    "414 at the front door": b"GET /" + b"a" * MANY + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "431 at the front door": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MANY,
}


@case(36, "security headers on every status", own_app=True)
async def headers(target: Target) -> list[Figure]:
    """Provoke each status and count what its answer lacks."""
    figures = []
    with EmbeddedServer() as server:
        production = {
            "ENVIRONMENT": "production",
            "REDIS_URL": server.url,
            "REDIS_NAMESPACE": "headers",
            "SECRET_KEY": "0123456789abcdef" * 2,
            "ALLOWED_HOSTS": "localhost",
            "TIMEOUT_REQUEST_SECONDS": "0.5",
            "TIMEOUT_HEADER_SECONDS": "1",
        }
        async with target.start(production) as running:
            for name, request in ASKED.items():
                figures.append(_missing(name, await _answer_to(running, request.encode())))
            for name, sent in RAW.items():
                figures.append(_missing(name, await _answer_to(running, sent)))
        async with target.start(production, RATE_LIMIT_PER_MINUTE="1") as running:
            answers = [await running.get("/") for _ in range(2)]
            figures.append(_missing("429", answers[-1]))
        async with target.start(production, PRESSURE_REQUESTS="1", WORKERS="1") as running:
            figures.append(_missing("503", await _refused(running)))
    return figures


def _missing(name: str, answer: Answer) -> Figure:
    """Count the headers that an answer lacks; an answer of another status counts as none."""
    if str(answer.status) != name.split(maxsplit=1)[0]:
        return exactly(name, f"status {answer.status}", 0)
    lacking = [key for key, part in EXPECTED.items() if part not in answer.headers.get(key, "")]
    return exactly(name, len(lacking), 0)


async def _answer_to(running: Running, sent: bytes) -> Answer:
    """Send bytes and read what comes."""
    connection = await Connection.open(running.address)
    connection.writer.write(sent)
    try:
        async with asyncio.timeout(5):
            return await connection.read_answer()
    except (OSError, EOFError, TimeoutError):
        return Answer(0)
    finally:
        connection.close()


async def _refused(running: Running) -> Answer:
    """Keep the service busier than it may be, and return the first answer that refuses."""
    waiting = [asyncio.create_task(running.get("/chaos/wait?seconds=0.4")) for _ in range(20)]
    answers = await asyncio.gather(*waiting)
    return next((one for one in answers if one.status == 503), answers[-1])  # noqa: PLR2004
