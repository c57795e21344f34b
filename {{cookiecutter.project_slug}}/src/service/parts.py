"""What one worker owns, each part made from its settings."""

import math
from contextlib import AbstractAsyncContextManager
from typing import Any

from prometheus_client import CollectorRegistry

from service.middleware.request_metrics import RequestMetrics
from service.middleware.running_request import running_request
from service.middleware.security_headers import default_security_headers
from service.runtime.cpus import usable_cpus
from service.runtime.draining import Draining
from service.runtime.monitors.cpu_monitor import CpuMonitor
from service.runtime.monitors.gc_monitor import GcMonitor
from service.runtime.monitors.loop_monitor import LoopMonitor
from service.runtime.monitors.memory_monitor import MemoryMonitor
from service.runtime.monitors.pressure import Pressure
from service.runtime.monitors.watchdog import Watchdog
from service.runtime.offload.processes import Processes
from service.runtime.offload.threads import Threads
from service.settings import Settings
from service.stores.cache.cache import Cache
from service.stores.redis.clients import RedisClients
from service.stores.sessions.store import SessionStore
from service.upstream.client import Upstream
from service.upstream.metrics import UpstreamMetrics

MIB = 2**20


class Parts:
    """What one worker owns; making it opens nothing, the lifespan opens `resources` in order."""

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.draining = Draining()
        self.requests = RequestMetrics()
        self.headers = default_security_headers(https=settings.production)
        self.monitor = LoopMonitor(registry=self.registry)
        CpuMonitor(self.monitor, registry=self.registry)
        self.watchdog = Watchdog(
            self.monitor,
            registry=self.registry,
            stall_seconds=settings.loop_stall_ms / 1000,
            describe_request=running_request,
        )
        self.pressure = Pressure(
            self.monitor,
            loop_lag_seconds=settings.pressure_loop_lag_ms / 1000,
            requests=settings.pressure_requests,
            rss_bytes=settings.pressure_rss_mib * MIB,
        )
        self.redis = RedisClients(
            settings.redis_url.get_secret_value(),
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
        self.upstream = Upstream(
            "rates",
            settings.upstream_url,
            metrics=UpstreamMetrics(self.registry),
            connections=settings.upstream_connections,
            timeout_seconds=settings.timeout_upstream_seconds,
        )
        self.cache_warm_seconds = settings.cache_warm_seconds
        self.resources: list[AbstractAsyncContextManager[Any]] = [
            self.monitor,
            self.watchdog,
            self.pressure,
            GcMonitor(registry=self.registry),
            MemoryMonitor(registry=self.registry),
            self.redis,
            self.cache,
            self.sessions,
            self.threads,
            self.processes,
            self.upstream,
        ]
