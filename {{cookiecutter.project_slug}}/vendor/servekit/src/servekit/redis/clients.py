"""Redis clients by purpose, each with its own pool, budget and breaker."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig

from servekit.background import running
from servekit.context import NotOpen
from servekit.redis.budgeted_clients import BudgetedCluster, BudgetedRedis
from servekit.redis.command_budget import STRETCH, CommandBudget, RedisBreaker
from servekit.redis.pools import BoundedPool, BoundedSentinelPool
from servekit.redis.tls import SentinelTlsConnection, TlsConnection, prepare
from servekit.redis.url import RedisUrl, parse_redis_url
from servekit.reservations import Reservation, Reserves
from servekit.resilience.breaker import CLOSED
from servekit.resilience.retry_budget import RetryBudget

# Each connection that is not given one reads redis-py's package metadata: 6 ms of the loop.
DRIVER = DriverInfo()
# No colon: what is under `shop` must not be under `shop:web`. No sign of a pattern or a hash tag.
NAMESPACE = re.compile(r"[A-Za-z0-9._-]+")
MOVING_SECONDS = 1.0
PROBE_SECONDS = 1.0
BREAKER_SECONDS_MAX = 5
DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class RedisClients(Reserves):
    """The clients `cache`, `sessions` and `rate_limit`, there while the context is entered.

    Entering waits for no connection, so a dead Redis fails no start. Every command ends within its
    pool's limit (twice that in a busy worker), or raises StoreUnavailable: `cache` and `rate_limit`
    try once, `sessions` retries once what failed at once, within the process's retry budget. On a
    Cluster the clients are RedisCluster objects behind the same type. Every key, and every channel
    of publish and subscribe, begins with `prefix(…)`: services that share a Redis differ in it.
    """

    cache: Redis
    sessions: Redis
    rate_limit: Redis

    def __init__(  # noqa: PLR0913 - each is a knob of its own
        self,
        url: str,
        *,
        namespace: str = "service",
        registry: CollectorRegistry | None = None,
        connections: int = 32,
        connect_timeout_seconds: float = 0.25,
        cache_timeout_seconds: float = 0.1,
        session_timeout_seconds: float = 0.25,
        connection_age_seconds_max: float = 600,
    ) -> None:
        if not NAMESPACE.fullmatch(namespace):
            raise ValueError(f"The namespace {namespace!r} may hold letters, digits and ._- only.")
        registry = registry or CollectorRegistry()
        self._namespace = namespace
        self._url = parse_redis_url(url)
        self._connections = connections
        self._connect_timeout_seconds = connect_timeout_seconds
        self._age_seconds_max = connection_age_seconds_max
        self._stack = AsyncExitStack()
        self._duration = Histogram(
            "redis_command_duration_seconds",
            "Time of a Redis command, waiting for a connection included.",
            ["pool"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._wait = Histogram(
            "redis_pool_wait_seconds",
            "Time that commands waited for a connection to become free.",
            ["pool"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._retried = Counter(
            "redis_retries_total", "Commands that were sent again.", registry=registry
        )
        state = Gauge(
            "redis_breaker_state",
            "State of a pool's breaker: 0 closed, 1 half open, 2 open.",
            ["pool"],
            registry=registry,
        )
        self._limits = {
            "cache": cache_timeout_seconds,
            "sessions": session_timeout_seconds,
            "rate_limit": cache_timeout_seconds,
        }
        self.breakers = {
            name: RedisBreaker(name, open_seconds_max=BREAKER_SECONDS_MAX) for name in self._limits
        }
        for name, breaker in self.breakers.items():
            state.labels(name).set_function(partial(getattr, breaker, "state"))

    def __getattr__(self, name: str) -> Any:
        """Say why there is no such client, before any is opened."""
        if name in RedisClients.__annotations__:
            raise NotOpen(f"The client of Redis for {name}")
        raise AttributeError(name)

    def prefix(self, part: str) -> str:
        """Return what the keys of one part begin with: `shop:session:`."""
        return f"{self._namespace}:{part}:"

    @property
    def is_cluster(self) -> bool:
        return self._url.kind == "cluster"

    @property
    def copy_seconds_max(self) -> float:
        """How long a copy of a key may be trusted, however quiet its server is.

        On a Cluster or by Sentinel, keys may come to live on a server that nobody here follows yet.
        """
        return math.inf if self._url.kind == "standalone" else MOVING_SECONDS

    async def __aenter__(self) -> Self:
        if self._url.tls:
            options = self._url.options.items()
            prepare(**{name: value for name, value in options if name.startswith("ssl_")})
        retries = RetryBudget(taken=self._retried)
        for name in self._limits:
            client = self._open(name)
            client.budget = CommandBudget(
                self.breakers[name],
                timeout_seconds=self._limits[name],
                duration=self._duration,
                retries=retries if name == "sessions" else None,
                on_read_only=self._forget_idle(client),
            )
            if isinstance(client, BudgetedCluster):
                client.load_layout()  # in the background: it takes longer than a command may
            self._stack.push_async_callback(client.aclose)
            setattr(self, name, client)
        await self._stack.enter_async_context(running(self._ask_again))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def reservation(self) -> Reservation | None:
        """Return what all pools may open, with two for invalidations, and what Redis allows.

        None where it does not say, and for a Cluster, whose nodes share them.
        """
        if self.is_cluster or "maxclients" not in (told := await self.cache.info("clients")):
            return None
        most = len(self._limits) * self._connections + 2
        remedy = "a smaller REDIS_CONNECTIONS, a higher maxclients"
        return Reservation("redis", most, told["maxclients"], remedy)

    async def recovered(self) -> None:
        """Ask Redis through every pool whose breaker is open: it was seen to answer."""
        for breaker in self.breakers.values():
            breaker.probe_soon()
        await self._probe()

    async def _ask_again(self) -> None:
        """Ask through pools whose breakers are open, as nobody else may have a use for them."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            await self._probe()

    async def _probe(self) -> None:
        shut = (
            name
            for name, breaker in self.breakers.items()
            if breaker.state != CLOSED and not breaker.refused
        )
        # What a probe finds is the breaker's to know.
        probes = (getattr(self, name).ping() for name in shut)
        await asyncio.gather(*probes, return_exceptions=True)

    def suspect(self) -> None:
        """Let every pool try Redis with a single call first: it fell silent."""
        for breaker in self.breakers.values():
            breaker.suspect()

    async def invalidation_connections(self) -> list[AbstractConnection]:
        """Open a dedicated RESP3 connection to every server that takes writes: one, or a Cluster's.

        The caller closes them. They have no read timeout, and speak RESP3 whatever the pools do.
        """
        own = {"protocol": 3, "socket_timeout": None}
        opened: list[AbstractConnection] = []
        if self.is_cluster:
            cluster = cast("RedisCluster", self.cache)
            await cluster.initialize()
            for node in cluster.get_primaries():
                kind, options = node.connection_class, node.connection_kwargs
                opened.append(kind(**{**options, **own, "retry": Retry(NoBackoff(), 0)}))
        else:
            pool = self.cache.connection_pool
            opened.append(pool.connection_class(**{**pool.connection_kwargs, **own}))
            if isinstance(pool, BoundedSentinelPool):
                pool.followers.update(opened)
        try:
            for connection in opened:
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            for connection in opened:
                await connection.disconnect(nowait=True)
            raise
        return opened

    def _open(self, name: str) -> BudgetedRedis | BudgetedCluster:
        options = {
            # A busy worker, one that starts, must not take itself for a silent server.
            "socket_connect_timeout": self._connect_timeout_seconds * STRETCH,
            # The budget limits the whole command; a second timer on each read costs 20 us. The rate
            # limiter's library takes the pool without its budget.
            "socket_timeout": self._limits[name] if name == "rate_limit" else None,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": DRIVER,
            # Maintenance messages switch off the pool's check for unread answers: never.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        if self._url.kind == "cluster":
            tls = {"ssl": True} if self._url.tls else {}
            return BudgetedCluster(
                **(options | tls | self._url.options),
                max_connections=self._connections,
                wait=self._wait.labels(name),
                age_seconds_max=self._age_seconds_max,
            )
        bounds: dict[str, Any] = {
            "max_connections": self._connections,
            "wait_seconds_max": self._limits[name] * STRETCH * 0.9,
            "wait": self._wait.labels(name),
            "age_seconds_max": self._age_seconds_max,
        }
        if self._url.kind == "sentinel":
            return self._open_sentinel(self._url, options, bounds)
        kind = {"connection_class": connection_class(self._url)}
        pool = BoundedPool(**(kind | options | bounds | self._url.options))
        return cast("BudgetedRedis", BudgetedRedis.from_pool(pool))

    def _open_sentinel(
        self, url: RedisUrl, options: dict[str, Any], bounds: dict[str, Any]
    ) -> BudgetedRedis:
        own = {
            "socket_timeout": self._connect_timeout_seconds,
            "socket_connect_timeout": self._connect_timeout_seconds,
            "retry": options["retry"],
            "driver_info": DRIVER,
        }
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            url.sentinels, sentinel_kwargs=own | url.sentinel_options
        )
        self._stack.push_async_callback(sentinel.aclose)
        tls = {"connection_class": SentinelTlsConnection} if url.tls else {}
        pool = BoundedSentinelPool(url.service, sentinel, **(options | bounds | tls | url.options))
        return cast("BudgetedRedis", BudgetedRedis.from_pool(pool))

    @staticmethod
    def _forget_idle(client: BudgetedRedis | BudgetedCluster) -> Callable[[], Awaitable[None]]:
        async def forget() -> None:
            if isinstance(client, BudgetedRedis):
                await client.connection_pool.disconnect(inuse_connections=False)

        return forget


def connection_class(url: RedisUrl) -> type[AbstractConnection]:
    """Return what connects to a single server."""
    if "path" in url.options:
        return UnixDomainSocketConnection
    return TlsConnection if url.tls else Connection
