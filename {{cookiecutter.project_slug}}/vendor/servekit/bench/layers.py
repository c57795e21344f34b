"""What each layer of middleware costs a request, in process, as a table and as JSON."""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import uvloop
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.types import ASGIApp, Message

from servekit.draining import Draining
from servekit.layers.compression import CompressionMiddleware
from servekit.layers.deadline import DeadlineMiddleware
from servekit.layers.draining import DrainingMiddleware
from servekit.layers.errors import ErrorsMiddleware
from servekit.layers.probes import ProbesMiddleware
from servekit.layers.proxy_headers import ProxyHeadersMiddleware
from servekit.layers.request_id import RequestIdMiddleware
from servekit.layers.request_metrics import RequestMetrics
from servekit.layers.security_headers import SecurityHeadersMiddleware, default_security_headers
from servekit.layers.telemetry import EndedRequests, TelemetryMiddleware
from servekit.layers.trusted_hosts import TrustedHostsMiddleware
from servekit.logs import configure_logs, event_writer

HEADERS = [
    (b"host", b"localhost:8000"),
    (b"user-agent", b"layers"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
]


class Greeting(BaseModel):
    """The small JSON of every benchmark."""

    name: str
    version: str


def bare() -> ASGIApp:
    """Return the typed application that all layers stand around."""
    app = FastAPI(openapi_url=None)

    @app.get("/")
    async def root() -> Greeting:
        return Greeting(name="service", version="1.0.0")

    return app


def layers() -> list[tuple[str, Callable[[ASGIApp], ASGIApp]]]:
    """Return the layers, innermost first."""
    draining = Draining()
    headers = default_security_headers(hsts_seconds=300)
    return [
        ("compression", CompressionMiddleware),
        ("proxy headers", lambda app: ProxyHeadersMiddleware(app, hops=0)),
        ("trusted hosts", lambda app: TrustedHostsMiddleware(app, allowed=["localhost"])),
        ("deadline", lambda app: DeadlineMiddleware(app, seconds=30)),
        ("errors", ErrorsMiddleware),
        (
            "telemetry",
            lambda app: TelemetryMiddleware(
                app,
                registry=CollectorRegistry(),
                ended=EndedRequests(RequestMetrics(), event_writer()),
            ),
        ),
        ("request id", RequestIdMiddleware),
        ("security headers", lambda app: SecurityHeadersMiddleware(app, headers=headers)),
        ("probes", lambda app: ProbesMiddleware(app, draining=draining, headers=headers)),
        ("draining", lambda app: DrainingMiddleware(app, draining=draining)),
    ]


async def call(app: ASGIApp, requests: int) -> float:
    """Return the microseconds of one request, the mean of `requests` in a row."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    began = perf_counter()
    for _ in range(requests):
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": HEADERS,
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        await app(scope, receive, send)
    return (perf_counter() - began) / requests * 1e6


async def measure(requests: int, rounds: int) -> list[dict[str, Any]]:
    """Return one row for each stack; rounds go over all stacks in turn, so that noise is shared."""
    stacks = [("bare FastAPI", bare())]
    for name, layer in layers():
        stacks.append((f"+ {name}", layer(stacks[-1][1])))
    for _, app in stacks:
        await call(app, requests // 10 + 1)
    gc.collect()
    gc.freeze()
    samples: list[list[float]] = [[] for _ in stacks]
    for _ in range(rounds):
        for row, (_, app) in zip(samples, stacks, strict=True):
            row.append(await call(app, requests))
    # Other programs only ever add time, so the least disturbed sample is the truest.
    best = [min(row) for row in samples]
    return [
        {
            "stack": name,
            "us": round(us, 2),
            "added_us": round(us - best[max(0, index - 1)], 2),
            "ratio": round(best[0] / us, 3),
        }
        for index, ((name, _), us) in enumerate(zip(stacks, best, strict=True))
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="requests of one sample")
    parser.add_argument("--rounds", type=int, default=60, help="samples of each stack")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    # The access line is part of the cost; it goes to a real file descriptor, not to the table.
    report = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    configure_logs("info", "json", worker=0)
    rows = uvloop.run(measure(arguments.requests, arguments.rounds))
    if not arguments.json:
        print(f"{'stack':<22}{'us':>9}{'added':>9}{'x bare':>9}", file=report)
        for row in rows:
            print("{stack:<22}{us:>9.2f}{added_us:>9.2f}{ratio:>9.3f}".format(**row), file=report)
    print(json.dumps(rows), file=report)
    report.flush()


if __name__ == "__main__":
    main()
