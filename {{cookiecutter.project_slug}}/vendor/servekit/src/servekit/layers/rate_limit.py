"""Limits the requests of one client address over all workers and hosts."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from ipaddress import IPv6Address

from cachebox import LRUCache
from limits import RateLimitItemPerSecond
from limits.aio.strategies import MovingWindowRateLimiter
from prometheus_client import CollectorRegistry, Counter
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.errors import StoreUnavailable
from servekit.layers.rate_limit_storage import ClientStorage
from servekit.problems import about, send_problem
from servekit.redis.clients import RedisClients
from servekit.refusal_log import RefusalLog
from servekit.routing.routes import route_path

LOCAL_CLIENTS = 10_000
NETWORK_BITS = 64  # what an IPv6 customer is given: all of it counts as one client


class RateLimitMiddleware:
    """Answers 429 to a client that sent `requests` within the last `window_seconds`.

    A moving window in Redis, exact over any number of workers. While Redis is away each worker
    counts for itself. A refused client is not looked up again before a request of its leaves the
    window, so refusing costs Redis nothing. OPTIONS and `exempt_paths` are not counted.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own
        self,
        app: ASGIApp,
        *,
        clients: RedisClients,
        requests: int,
        window_seconds: int = 60,
        exempt_paths: Collection[str] = ("/livez", "/readyz"),
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.app = app
        self._clients = clients
        self._prefix = clients.prefix("rate-limit")
        self._item = RateLimitItemPerSecond(requests, window_seconds)
        self._requests = requests
        self._window_seconds = window_seconds
        self._log = RefusalLog()
        self._exempt_paths = frozenset(exempt_paths)
        self._policy = b'"client";q=%d;w=%d' % (requests, window_seconds)
        self._limiter: MovingWindowRateLimiter | None = None
        self._local = LocalWindow(requests, window_seconds)
        self._refused_until: LRUCache[str, float] = LRUCache(LOCAL_CLIENTS)
        limited = Counter(
            "http_requests_rate_limited_total",
            "Requests answered with 429, by what kept the count.",
            ["store"],
            registry=registry or CollectorRegistry(),
        )
        self._limited = {store: limited.labels(store) for store in ("redis", "local")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_exempt(scope):
            await self.app(scope, receive, send)
            return
        client = client_key(scope)
        wait_seconds = await self._wait_seconds(client)
        if wait_seconds <= 0:
            await self.app(scope, receive, send)
            return
        seconds = math.ceil(wait_seconds)
        headers = [
            (b"retry-after", b"%d" % seconds),
            (b"ratelimit-policy", self._policy),
            (b"ratelimit", b'"client";r=0;t=%d' % seconds),
        ]
        self._log.say(
            "one client sends too many",
            status=429,
            setting="RATE_LIMIT_PER_MINUTE",
            limit=self._requests,
            client=client,
        )
        detail = f"More than {self._requests} requests in {self._window_seconds} seconds."
        await send_problem(send, 429, detail=detail, headers=headers, **about(scope))

    def _is_exempt(self, scope: Scope) -> bool:
        return scope["method"] == "OPTIONS" or route_path(scope) in self._exempt_paths

    async def _wait_seconds(self, key: str) -> float:
        """Count a request; return how long its client must wait, 0 to let it pass."""
        now = time.time()
        if (until := self._refused_until.get(key, 0.0)) > now:
            self._limited["redis"].inc()
            return until - now
        try:
            return await self._shared_wait_seconds(key)
        except (StoreUnavailable, RedisError):
            wait_seconds = self._local.hit(key, now)
            self._limited["local"].inc(wait_seconds > 0)
            return wait_seconds

    async def _shared_wait_seconds(self, key: str) -> float:
        limiter = self._limiter
        if limiter is None:
            storage = ClientStorage(self._clients.rate_limit, prefix=self._prefix)
            limiter = self._limiter = MovingWindowRateLimiter(storage)
        if await limiter.hit(self._item, key):
            return 0
        reset, _ = await limiter.get_window_stats(self._item, key)
        self._refused_until[key] = reset
        self._limited["redis"].inc()
        return max(reset - time.time(), 0.001)


class LocalWindow:
    """The count of one worker: as many as the limit at once, then evenly; bounded in clients."""

    def __init__(self, requests: int, window_seconds: float) -> None:
        self._interval = window_seconds / requests
        self._burst = window_seconds - self._interval
        self._due: LRUCache[str, float] = LRUCache(LOCAL_CLIENTS)

    def hit(self, key: str, now: float) -> float:
        """Count a request; return the seconds to wait, 0 when it passes."""
        due = max(self._due.get(key, now), now)
        if due - now > self._burst + 1e-6:
            return due - now - self._burst
        self._due[key] = due + self._interval
        return 0

    def take_back(self, key: str) -> None:
        """Count one request of a client less, if any is counted here."""
        if key in self._due:
            self._due[key] -= self._interval


def client_key(scope: Scope) -> str:
    """Return who a request counts for: its IPv4 address, or its IPv6 network."""
    client = scope.get("client")
    host: str = client[0] if client else "unknown"
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS))
