"""What a worker of a service runs: its application, made from its settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Metric,
    disable_created_metrics,
    generate_latest,
)

from servekit.configuration.environment import load_settings
from servekit.configuration.settings import Settings
from servekit.console.journal import note_events
from servekit.console.vitals import Vitals
from servekit.event_log import get_logger
from servekit.import_string import find
from servekit.install import entrance
from servekit.layers.cors import AllowedOrigins
from servekit.layers.running_request import running_request
from servekit.logs import configure_logs, name_worker, set_level
from servekit.monitors.profiling import Profiling
from servekit.own_code import claim
from servekit.own_threads import in_own_thread
from servekit.routing.template import route_template
from servekit.service import Service
from servekit.start.libraries import tell_libraries
from servekit.supervisor.program import Program

log = get_logger()


def load(application: str, settings_class: str) -> Program:
    """Return what a worker runs, from the settings of the environment; opens nothing.

    Both are import strings: `service.app:create_app`, a function of the settings that returns the
    application, and `service.settings:Settings`.
    """
    claim(application)
    settings = load_settings(find(settings_class))
    configure_logs(settings.log_level, settings.log_format)
    tell_libraries(settings)
    disable_created_metrics()  # type: ignore[no-untyped-call] # has no annotations
    return program_of(find(application)(settings), settings, made_by=application)


def program_of(app: FastAPI, settings: Settings, *, made_by: str = "create_app") -> Program:
    """Return an application and its service as a worker runs them.

    Raises:
        TypeError: No Service was installed into the application.
    """
    service = getattr(getattr(app, "state", None), "servekit", None)
    if not isinstance(service, Service):
        raise TypeError(
            f"{made_by} returned {type(app).__name__}, not a FastAPI application into which it put "
            "a service, `Service(settings).install(app)`. What is put around an application goes "
            "into it: `app.add_middleware(...)` before `return app`."
        )

    profiling = Profiling(lambda: service.requests.total, running_request)

    async def metrics(_: dict[str, Any]) -> bytes:
        # In a thread: some of the figures are files of /proc.
        return await in_own_thread(exposition, service)

    def status() -> dict[str, float | int | None]:
        return {
            "requests": service.requests.total,
            "active": service.requests.active,
            "lag_seconds": service.monitor.lag_seconds,
            "utilization": service.monitor.utilization,
        }

    vitals = Vitals(
        service.registry, service.requests, service.pressure, service.cache.metrics.counts
    )

    def enter_worker(slot: int) -> None:
        name_worker(slot)
        reseed()
        for hook in service.start_hooks:
            hook(slot)

    def begin_drain(reason: str) -> None:
        call_each(service.drain_hooks, reason)

    def leave_worker() -> None:
        call_each(service.exit_hooks)

    return Program(
        asgi=entrance(app),
        draining=service.draining,
        commands={"metrics": metrics, **profiling.commands},
        status=status,
        vitals=vitals.read,
        listen=note_events,
        set_log_level=set_level,
        route_of=route_template,
        enter_worker=enter_worker,
        begin_drain=begin_drain,
        leave_worker=leave_worker,
        error_headers=service.headers,
        count_refusal=service.requests.count_refusal,
        headers_for=AllowedOrigins(settings.cors_origins).fields,
        debug=settings.debug,
        instant=service.instant,
    )


def reseed() -> None:
    """Give numpy's global generator a seed of this process's, as Python gives `random` one."""
    generators = sys.modules.get("numpy.random")
    if generators is not None:
        generators.seed()


OF_THE_PROCESS = ("process_", "python_")
"""What prometheus_client's default registry measures by itself, as ours does."""
HIDDEN: set[str] = set()
"""Metrics of the code's own that were told to have a name of ours."""


class AllMetrics:
    """The service's metrics, and those that its code made as usual; a name of ours is ours."""

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own

    def collect(self) -> Iterator[Metric]:
        names = set()
        for family in self._own.collect():
            names.add(family.name)
            yield family
        for family in REGISTRY.collect():
            if family.name not in names:
                yield family
            elif not family.name.startswith(OF_THE_PROCESS) and family.name not in HIDDEN:
                HIDDEN.add(family.name)
                log.warning("metric_hidden", metric=family.name)


def call_each(hooks: Iterable[Callable[..., None]], *arguments: str) -> None:
    """Call the hooks of a worker that ends; one that raises is logged, and the next is called."""
    for hook in hooks:
        try:
            hook(*arguments)
        except Exception:
            log.exception("hook_failed")


def exposition(service: Service) -> bytes:
    """Return the metrics of a worker as Prometheus reads them."""
    return generate_latest(AllMetrics(service.registry))
