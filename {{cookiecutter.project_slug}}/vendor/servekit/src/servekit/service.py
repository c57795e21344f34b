"""What one worker owns, each part made from its settings."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from inspect import isroutine
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry

from servekit.admission.pressure import Pressure
from servekit.cache.cache import Cache
from servekit.configuration.identity import default_namespace
from servekit.configuration.settings import Settings
from servekit.cpus import usable_cpus
from servekit.draining import Draining
from servekit.errors import LoadTimeout, StoreUnavailable
from servekit.hooks import refuse_coroutine
from servekit.install import install
from servekit.layers.request_id import RequestIds
from servekit.layers.request_metrics import RequestMetrics
from servekit.layers.running_request import running_request
from servekit.layers.security_headers import default_security_headers
from servekit.layers.telemetry import EndedRequests
from servekit.monitors.bad_minute import BadMinute
from servekit.monitors.cpu_monitor import CpuMonitor
from servekit.monitors.gc_monitor import GcMonitor
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.monitors.memory_monitor import MemoryMonitor
from servekit.monitors.watchdog import Watchdog
from servekit.notation.http_url import read_base_url
from servekit.notation.urls import Refused
from servekit.offload.errors import OffloadCrashed, OffloadRejected, OffloadTimeout
from servekit.offload.processes import Processes
from servekit.offload.route_threads import RouteThreads
from servekit.offload.threads import Threads
from servekit.redis.clients import RedisClients
from servekit.response_cache.instant import InstantAnswers
from servekit.routing.routes import Routes
from servekit.sessions.errors import SessionEnded
from servekit.sessions.store import SessionStore
from servekit.upstream.client import Upstream
from servekit.upstream.errors import UpstreamTimeout, UpstreamUnavailable
from servekit.upstream.metrics import UpstreamMetrics

MIB = 2**20
TELEMETRY_OFF: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
TELEMETRY_ON: TelemetryConfig = {**TELEMETRY_OFF, "tracing": True, "auto_configure": True}

Part = TypeVar("Part", bound=AbstractAsyncContextManager[Any])


def no_context_manager(part: object) -> str:
    """Return why a part cannot be opened, and what would be."""
    if isinstance(part, type) or isroutine(part):
        name = part.__qualname__
        return f"service.add({name}) was given what makes a part: add the part, {name}(...)."
    kind = type(part).__qualname__
    return f"service.add() opens async context managers: {kind} has no __aenter__ and __aexit__."


TOO_LATE_TO_ADD = (
    "{} cannot be added any more: the parts of this service are open. Add it where the application "
    "is made, before it starts."
)


class Service:
    """Cache, sessions, pools, monitors and upstreams of one worker, and layers around its routes.

    Making it opens nothing; the application's lifespan opens `parts` in order, before its own
    lifespan runs, and closes them in reverse.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        self.draining = Draining()
        self.requests = RequestMetrics()
        self.request_ids = RequestIds()
        self.ended = EndedRequests(self.requests)
        self.headers = default_security_headers(
            hsts_seconds=settings.hsts_seconds if settings.production else 0,
            hsts_subdomains=settings.hsts_subdomains,
        )
        self.docs_paths: tuple[str, ...] = ("/docs", "/redoc")
        self.statuses: dict[type[Exception], int] = {
            StoreUnavailable: 503,
            SessionEnded: 409,
            LoadTimeout: 504,
            UpstreamUnavailable: 503,
            UpstreamTimeout: 504,
            OffloadRejected: 503,
            OffloadTimeout: 504,
            OffloadCrashed: 500,
        }
        """What an exception means to a client when a route lets it pass; add your own."""
        self.exception_handlers: dict[type[Exception], Any] = {}
        self.monitor = LoopMonitor(registry=self.registry)
        CpuMonitor(self.monitor, registry=self.registry)
        self.watchdog = Watchdog(
            self.monitor,
            registry=self.registry,
            stall_seconds=settings.loop_stall_ms / 1000,
            describe_request=running_request,
        )
        self.bad_minute = BadMinute(
            self.monitor, folder=partial(profile_folder, settings), files=settings.profile_files
        )
        self.pressure = Pressure(
            self.monitor,
            loop_lag_seconds=settings.pressure_loop_lag_ms / 1000,
            requests=settings.pressure_requests,
            rss_bytes=settings.pressure_rss_mib * MIB,
        )
        self.instant = InstantAnswers(
            ended=self.ended,
            new_id=self.request_ids,
            is_at_ease=self._is_at_ease,
            routes=lambda: self.routes(),  # noqa: PLW0108 - known when it is installed
            hops=settings.trusted_proxy_hops,
        )
        self.redis = RedisClients(
            settings.redis_url.get_secret_value(),
            namespace=settings.redis_namespace or default_namespace(settings),
            registry=self.registry,
            connections=settings.redis_connections,
            connect_timeout_seconds=settings.timeout_redis_connect_ms / 1000,
            cache_timeout_seconds=settings.timeout_cache_ms / 1000,
            session_timeout_seconds=settings.timeout_session_ms / 1000,
            connection_age_seconds_max=settings.redis_connection_age_seconds or math.inf,
        )
        self.cache = Cache(
            self.redis,
            enabled=settings.cache_enabled,
            timeout_seconds=settings.timeout_load_seconds,
            warm_seconds=settings.cache_warm_seconds,
            local_bytes=settings.cache_local_mib * MIB,
            registry=self.registry,
        )
        self.sessions = SessionStore(
            self.redis,
            secret_keys=settings.secret_keys,
            idle_seconds=settings.session_idle_seconds,
            absolute_seconds=settings.session_absolute_seconds,
            limit_per_user=settings.session_limit_per_user,
            local_bytes=settings.session_local_mib * MIB,
            registry=self.registry,
        )
        self.threads = Threads(
            registry=self.registry,
            size=settings.offload_threads,
            queue=settings.offload_queue,
            timeout_seconds=settings.timeout_offload_seconds,
        )
        workers = settings.workers or usable_cpus()
        self.processes = Processes(
            registry=self.registry,
            size=settings.offload_processes or max(1, usable_cpus() // workers),
            queue=settings.offload_queue,
            timeout_seconds=settings.timeout_offload_seconds,
            recycle_rss_bytes=settings.offload_recycle_rss_mib * MIB,
        )
        self.routes: Callable[[], Routes] = lambda: Routes(())
        """The table of the application's routes, from its start on."""
        self.upstreams: dict[str, Upstream] = {}
        self._upstream_metrics = UpstreamMetrics(self.registry)
        self.start_hooks: list[Callable[[int], None]] = []
        self.drain_hooks: list[Callable[[str], None]] = []
        self.exit_hooks: list[Callable[[], None]] = []
        self.parts_are_open = False
        self.parts: list[AbstractAsyncContextManager[Any]] = [
            self.monitor,
            self.watchdog,
            self.bad_minute,
            self.pressure,
            GcMonitor(registry=self.registry),
            MemoryMonitor(registry=self.registry),
            self.redis,
            self.cache,
            self.sessions,
            RouteThreads(self.registry),
            self.threads,
            self.processes,
        ]

    @property
    def telemetry(self) -> TelemetryConfig:
        """For `FastAPI(telemetry=...)`: traces if a collector is set, else nothing at all."""
        return TELEMETRY_ON if self.settings.otel_exporter_otlp_endpoint else TELEMETRY_OFF

    def _is_at_ease(self) -> bool:
        return self.pressure.calm() and self.draining.ready and not self.draining.active

    def install(self, app: FastAPI) -> None:
        """Put this service around an application, which stays what FastAPI says.

        Own middleware stands inside the service's layers, own exception handlers go before the
        service's, and both may be added until the application starts.
        """
        install(self, app)

    def add(self, part: Part) -> Part:
        """Open an async context manager with every worker, after cache and pools, and return it.

        If it has `statuses` or `exception_handlers`, by exception, they are the application's too.
        A method `register_metrics` is given the registry of the worker's metrics.

        Raises:
            TypeError: It is none, such as the class of one.
            RuntimeError: The parts are open already, as in the application's own lifespan.
        """
        if not isinstance(part, AbstractAsyncContextManager):
            raise TypeError(no_context_manager(part))
        if self.parts_are_open:
            raise RuntimeError(TOO_LATE_TO_ADD.format(type(part).__name__))
        if (register := getattr(part, "register_metrics", None)) is not None:
            register(self.registry)
        self.parts.append(part)
        self.statuses |= getattr(part, "statuses", {})
        self.exception_handlers |= getattr(part, "exception_handlers", {})
        return part

    def add_upstream(
        self,
        name: str,
        url: str,
        *,
        connections: int | None = None,
        timeout_seconds: float | None = None,
        keep_cookies: bool = False,
    ) -> Upstream:
        """Add a client of another service, by the name that metrics and logs give it.

        An empty `url` calls nobody. Limits are those of UPSTREAM_CONNECTIONS and
        TIMEOUT_UPSTREAM_SECONDS unless given. `keep_cookies` is for a service that knows this one
        by a cookie: what it sets for any call goes out with every later one, whoever asks.

        Raises:
            ValueError: The name is taken, or the URL is none.
        """
        if name in self.upstreams:
            raise ValueError(f"There is an upstream {name!r} already.")
        try:
            url = read_base_url(url)
        except Refused as refusal:
            raise ValueError(f"The URL of the upstream {name!r}: {refusal}.") from None
        settings = self.settings
        self.upstreams[name] = upstream = Upstream(
            name,
            url,
            metrics=self._upstream_metrics,
            connections=connections or settings.upstream_connections,
            timeout_seconds=timeout_seconds or settings.timeout_upstream_seconds,
            keep_cookies=keep_cookies,
        )
        return self.add(upstream)

    def on_worker_start(self, hook: Callable[[int], None]) -> Callable[[int], None]:
        """Call a function first in every worker, with its slot number; also as a decorator.

        Raises:
            TypeError: It is a coroutine function: no loop runs yet. That is a lifespan's place.
        """
        refuse_coroutine(hook)
        self.start_hooks.append(hook)
        return hook

    def on_drain(self, hook: Callable[[str], None]) -> Callable[[str], None]:
        """Call a function when a worker begins to drain, with why: `stop`, `reload`, `scale`."""
        refuse_coroutine(hook)
        self.drain_hooks.append(hook)
        return hook

    def on_worker_exit(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call a function last in every worker, after its parts are closed: a place to flush."""
        refuse_coroutine(hook)
        self.exit_hooks.append(hook)
        return hook


def profile_folder(settings: Settings) -> Path:
    """Return where profiles of bad minutes are kept."""
    if settings.profile_folder:
        return Path(settings.profile_folder)
    return Path(tempfile.gettempdir()) / f"{default_namespace(settings)}-profiles"
