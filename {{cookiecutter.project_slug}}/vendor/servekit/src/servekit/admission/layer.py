"""Refuses requests that the worker has no time for, before anything else is done for them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.admission.importance import Importances
from servekit.admission.pressure import Pressure
from servekit.layers.proxy_headers import forwarded_client
from servekit.problems import problem_body, problem_headers
from servekit.refusal_log import RefusalLog

RETRY_SECONDS = range(1, 6)

SETTINGS = {
    "event_loop_lag": "PRESSURE_LOOP_LAG_MS",
    "requests": "PRESSURE_REQUESTS",
    "memory": "PRESSURE_RSS_MIB",
}
"""Which setting decides, by reason."""

Headers = Sequence[tuple[bytes, bytes]]


class OverloadMiddleware:
    """Answer 503 to what `pressure` refuses: prebuilt, jittered, seldom logged, connection kept.

    `headers` go with each refusal, as nothing further in adds any. With `dry_run` refusals are
    counted and not carried out. `hops` are the trusted proxies in front. For the outermost place:
    refused requests must not reach the latency histogram.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        app: ASGIApp,
        *,
        pressure: Pressure,
        registry: CollectorRegistry,
        importances: Importances | None = None,
        headers: Headers = (),
        hops: int = 0,
        dry_run: bool = False,
    ) -> None:
        self.app = app
        self._pressure = pressure
        self._importances = importances or Importances()
        self._hops = hops
        self._dry_run = dry_run
        self._log = RefusalLog()
        self._body: Message = {"type": "http.response.body", "body": problem_body(503)}
        self._starts = [self._start(seconds, headers) for seconds in RETRY_SECONDS]
        self._reasons: dict[str, Counter] = {}
        name = "http_requests_shed_dry_run_total" if dry_run else "http_requests_shed_total"
        text = "Requests refused by the overload check, by what pressed."
        self._shed = Counter(name, text, ["reason"], registry=registry)
        level = Gauge("pressure_level_ratio", "Pressure: 0 at ease, 1 all shed.", registry=registry)
        level.set_function(lambda: pressure.level)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pressure = self._pressure
        if scope["type"] == "websocket":
            pressure.websockets += 1
            try:
                await self.app(scope, receive, send)
            finally:
                pressure.websockets -= 1
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not pressure.calm():
            client = self._client(scope)
            reason = await pressure.refuse(self._importances.of(scope), client)
            if reason is not None:
                self._count(reason)
                if not self._dry_run:
                    self._log.say(reason, status=503, setting=SETTINGS[reason])
                    await send(self._starts[int(random.random() * len(self._starts))])  # noqa: S311
                    await send(self._body)
                    return
        pressure.in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            pressure.in_flight -= 1

    def _count(self, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons[reason] = self._shed.labels(reason)
        self._reasons[reason].inc()

    def _client(self, scope: Scope) -> str:
        # The layer that takes the client from the trusted proxies comes further in.
        host, _ = forwarded_client(scope, self._hops) or scope.get("client") or ("", 0)
        return str(host)

    def _start(self, retry_seconds: int, headers: Headers) -> Message:
        retry = (b"retry-after", b"%d" % retry_seconds)
        fields = problem_headers(self._body["body"], [*headers, retry])
        return {"type": "http.response.start", "status": 503, "headers": fields}
