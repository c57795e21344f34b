"""The place where everything is put together, in order."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from prometheus_client import disable_created_metrics, generate_latest
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.environment import load_settings
from service.example.install import install as install_example
from service.identity import read_identity
from service.lifespan import lifespan
from service.logs import configure_logs, event_writer
from service.middleware.body_limit import BodyLimitMiddleware
from service.middleware.compression import CompressionMiddleware
from service.middleware.cross_site import CrossSiteMiddleware
from service.middleware.deadline import DeadlineMiddleware
from service.middleware.draining import DrainingMiddleware
from service.middleware.errors import ErrorsMiddleware
from service.middleware.exception_handlers import problem_handlers, problem_responses
from service.middleware.importance import Importances
from service.middleware.overload import OverloadMiddleware
from service.middleware.probes import ProbesMiddleware
from service.middleware.proxy_headers import ProxyHeadersMiddleware
from service.middleware.rate_limit import RateLimitMiddleware
from service.middleware.request_id import RequestIdMiddleware
from service.middleware.response_cache import ResponseCacheMiddleware
from service.middleware.security_headers import SecurityHeadersMiddleware
from service.middleware.sessions import SessionMiddleware
from service.middleware.telemetry import TelemetryMiddleware
from service.middleware.trusted_hosts import TrustedHostsMiddleware
from service.parts import Parts
from service.runtime.monitors.profiling import Profiling
from service.runtime.offload.errors import OffloadCrashed, OffloadRejected, OffloadTimeout
from service.runtime.workers.program import Program
from service.settings import Settings
from service.stores.errors import StoreUnavailable
from service.upstream.errors import UpstreamTimeout, UpstreamUnavailable

DOCS_PATHS = ("/docs",)
TELEMETRY_OFF: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
TELEMETRY_ON: TelemetryConfig = {**TELEMETRY_OFF, "tracing": True, "auto_configure": True}

STATUSES = {
    StoreUnavailable: 503,
    UpstreamUnavailable: 503,
    UpstreamTimeout: 504,
    OffloadRejected: 503,
    OffloadTimeout: 504,
    OffloadCrashed: 500,
}
"""What an error of a store, a pool or an upstream means to a client when a route lets it pass."""


def create_app(settings: Settings, parts: Parts | None = None) -> FastAPI:
    """Return the application; pass `parts` where the caller needs them too."""
    parts = parts or Parts(settings)
    identity = read_identity()
    app = FastAPI(
        title=identity.name,
        description=identity.description,
        version=identity.version,
        lifespan=lifespan(parts.resources, ready=parts.draining.set_ready),
        exception_handlers=problem_handlers(STATUSES),
        responses=problem_responses(),
        docs_url="/docs" if settings.debug else None,
        openapi_url="/openapi.json" if settings.debug else None,
        redoc_url=None,
        # While OpenTelemetry is not configured, looking for it costs every request.
        telemetry=TELEMETRY_ON if settings.otel_exporter_otlp_endpoint else TELEMETRY_OFF,
    )
    app.user_middleware = layers(settings, parts, app)
    install_example(app, parts, settings.database_url.get_secret_value(), seed=settings.development)
    return app


def layers(settings: Settings, parts: Parts, app: FastAPI) -> list[Middleware]:
    """Return what every request passes, outermost first."""
    registry, headers, draining = parts.registry, parts.headers, parts.draining
    return [
        Middleware(DrainingMiddleware, draining=draining),
        Middleware(ProbesMiddleware, draining=draining, headers=headers),
        Middleware(
            OverloadMiddleware,
            pressure=parts.pressure,
            registry=registry,
            importances=Importances(
                critical=settings.critical_paths,
                sheddable=settings.sheddable_paths,
                routes=lambda: app.routes,
            ),
            headers=headers,
            hops=settings.trusted_proxy_hops,
            dry_run=settings.pressure_dry_run,
        ),
        Middleware(RequestIdMiddleware),
        Middleware(
            TelemetryMiddleware,
            registry=registry,
            metrics=parts.requests,
            write=event_writer(settings.log_level),
        ),
        Middleware(SecurityHeadersMiddleware, headers=headers, docs_paths=DOCS_PATHS),
        Middleware(ErrorsMiddleware, statuses=STATUSES),
        Middleware(DeadlineMiddleware, seconds=settings.timeout_request_seconds),
        Middleware(ProxyHeadersMiddleware, hops=settings.trusted_proxy_hops),
        Middleware(TrustedHostsMiddleware, allowed=settings.allowed_hosts),
        *cors(settings),
        *rate_limit(settings, parts),
        Middleware(ResponseCacheMiddleware, cache=parts.cache, routes=lambda: app.routes),
        Middleware(CompressionMiddleware),
        *body_limit(settings, app),
        Middleware(CrossSiteMiddleware, allowed_origins=settings.cors_origins),
        Middleware(SessionMiddleware, store=parts.sessions, secure=settings.production),
    ]


def cors(settings: Settings) -> list[Middleware]:
    """Return the layer that lets pages of CORS_ORIGINS read answers; none without them."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
        )
    ]


def rate_limit(settings: Settings, parts: Parts) -> list[Middleware]:
    """Return the layer that counts RATE_LIMIT_PER_MINUTE; none at 0."""
    limit, registry = settings.rate_limit_per_minute, parts.registry
    if not limit:
        return []
    return [Middleware(RateLimitMiddleware, clients=parts.redis, requests=limit, registry=registry)]


def body_limit(settings: Settings, app: FastAPI) -> list[Middleware]:
    """Return the layer that holds LIMIT_BODY_BYTES; none at 0."""
    limit = settings.limit_body_bytes
    if not limit:
        return []
    return [Middleware(BodyLimitMiddleware, limit_bytes=limit, routes=lambda: app.routes)]


def entrance(app: FastAPI) -> ASGIApp:
    """Return what the server calls: our layers, built now and once, not in every worker.

    The three that FastAPI puts around them answer errors, note them for traces and limit bodies, as
    ours do: with its own entrance that is 5 us of a small request's 95.
    """
    app.middleware_stack = stack = app.build_middleware_stack()
    while not isinstance(stack, DrainingMiddleware):
        stack = stack.app  # type: ignore[attr-defined] # every layer has one

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return app(scope, receive, send)
        scope["app"] = app
        return stack(scope, receive, send)

    return serve


def program(install: Callable[[FastAPI, Parts], None] | None = None) -> Program:
    """Return what a worker runs, from the settings of the environment; opens nothing.

    `install` adds routes that are no part of the service: those of the chaos suite.
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    disable_created_metrics()  # type: ignore[no-untyped-call] # has no annotations
    parts = Parts(settings)
    app = create_app(settings, parts)
    if install is not None:
        install(app, parts)

    async def metrics(_: dict[str, Any]) -> bytes:
        # In a thread: some of the figures are files of /proc.
        return await asyncio.to_thread(generate_latest, parts.registry)

    def status() -> dict[str, float | int | None]:
        return {
            "requests": parts.requests.total,
            "active": parts.requests.active,
            "lag_seconds": parts.monitor.lag_seconds,
            "utilization": parts.monitor.utilization,
        }

    return Program(
        asgi=app if settings.otel_exporter_otlp_endpoint else entrance(app),
        draining=parts.draining,
        commands={"metrics": metrics, **Profiling().commands},
        status=status,
        enter_worker=lambda slot: configure_logs(settings.log_level, settings.log_format, slot),
        error_headers=parts.headers,
    )
