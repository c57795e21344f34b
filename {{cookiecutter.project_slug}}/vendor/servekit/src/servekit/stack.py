"""The layers around an application, in order: the one place where they are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from starlette.middleware import Middleware

from servekit.admission.importance import Importances
from servekit.admission.layer import OverloadMiddleware
from servekit.foreign.fastapi import telemetry_is_off
from servekit.layers.body_limit import BodyLimitMiddleware
from servekit.layers.compression import CompressionMiddleware
from servekit.layers.cors import AllowedOrigins, CorsMiddleware, PreflightMiddleware
from servekit.layers.cross_site import CrossSiteMiddleware
from servekit.layers.cross_site_rules import CrossSiteRules, cors_layers
from servekit.layers.deadline import DeadlineMiddleware
from servekit.layers.draining import DrainingMiddleware
from servekit.layers.errors import ErrorsMiddleware
from servekit.layers.inner_scope import AfterMiddleware, BeforeMiddleware
from servekit.layers.probes import PATHS, ProbesMiddleware
from servekit.layers.proxy_headers import ProxyHeadersMiddleware
from servekit.layers.rate_limit import RateLimitMiddleware
from servekit.layers.request_id import RequestIdMiddleware
from servekit.layers.root_path import RootPathMiddleware
from servekit.layers.security_headers import SecurityHeadersMiddleware
from servekit.layers.telemetry import TelemetryMiddleware
from servekit.layers.trusted_hosts import TrustedHostsMiddleware
from servekit.logs import event_writer
from servekit.response_cache.boundary import LETS_EVERYBODY_IN
from servekit.response_cache.layer import ResponseCacheMiddleware
from servekit.response_cache.writes import BoundaryMiddleware
from servekit.sessions.layer import SessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from prometheus_client import CollectorRegistry

    from servekit.admission.pressure import Pressure
    from servekit.cache.cache import Cache
    from servekit.configuration.settings import Settings
    from servekit.draining import Draining
    from servekit.layers.request_id import RequestIds
    from servekit.layers.telemetry import EndedRequests
    from servekit.redis.clients import RedisClients
    from servekit.response_cache.instant import InstantAnswers
    from servekit.routing.routes import Routes
    from servekit.sessions.store import SessionStore


class Composition(Protocol):
    """What the layers are made of: a `Service` has it all."""

    settings: Settings
    registry: CollectorRegistry
    draining: Draining
    pressure: Pressure
    request_ids: RequestIds
    ended: EndedRequests
    instant: InstantAnswers
    redis: RedisClients
    cache: Cache
    sessions: SessionStore
    headers: list[tuple[bytes, bytes]]
    docs_paths: tuple[str, ...]
    statuses: dict[type[Exception], int]
    routes: Callable[[], Routes]


def layers(service: Composition, app: FastAPI) -> list[Middleware]:
    """Return what every request passes before the application's own middleware, outermost first."""
    settings, registry = service.settings, service.registry
    headers, draining, routes = service.headers, service.draining, service.routes
    service.ended.write = event_writer()  # now that logging is set up
    return [
        *cors(service, app),
        Middleware(DrainingMiddleware, draining=draining),
        Middleware(ProbesMiddleware, draining=draining, headers=headers, routes=routes),
        *root_path(settings, app),
        Middleware(
            OverloadMiddleware,
            pressure=service.pressure,
            registry=registry,
            importances=Importances(
                critical=(*settings.critical_paths, *PATHS),
                sheddable=settings.sheddable_paths,
                routes=routes,
            ),
            headers=headers,
            hops=settings.trusted_proxy_hops,
            dry_run=settings.pressure_dry_run,
        ),
        Middleware(
            RequestIdMiddleware,
            service=service,
            traced=not telemetry_is_off(app),
            ids=service.request_ids,
        ),
        Middleware(TelemetryMiddleware, registry=registry, ended=service.ended),
        Middleware(SecurityHeadersMiddleware, headers=headers, docs_paths=docs_paths(service, app)),
        Middleware(ErrorsMiddleware, statuses=service.statuses),
        Middleware(DeadlineMiddleware, seconds=settings.timeout_request_seconds),
        Middleware(ProxyHeadersMiddleware, hops=settings.trusted_proxy_hops),
        Middleware(TrustedHostsMiddleware, allowed=settings.allowed_hosts),
        *preflight(service),
        *rate_limit(service),
        *cache_outside(service, app),
        Middleware(CompressionMiddleware),
        *body_limit(service, app),
        Middleware(
            CrossSiteMiddleware,
            allowed_origins=settings.cors_origins,
            admit=CrossSiteRules(app, routes).admit,
        ),
        Middleware(
            SessionMiddleware,
            store=service.sessions,
            secure=settings.production,
            clear_site_data=settings.session_clear_site_data,
        ),
        *boundary(service, app),
    ]


def cache_outside(service: Composition, app: FastAPI) -> list[Middleware]:
    """Return the response cache, unless the application has middleware: that is for every request.

    Outside of compression and sessions, a hit is what costs least.
    """
    if app.user_middleware:
        return []
    # Each request counts for a rate limit, and has a trace where there are traces.
    counted = service.settings.rate_limit_per_minute or not telemetry_is_off(app)
    return [
        Middleware(
            ResponseCacheMiddleware,
            cache=service.cache,
            routes=service.routes,
            instant=None if counted else service.instant,
        )
    ]


def boundary(service: Composition, app: FastAPI) -> list[Middleware]:
    """Return what stands around the application's own middleware, if any, for what is inside."""
    if not app.user_middleware:
        return []
    return [
        Middleware(BoundaryMiddleware, cache=service.cache, routes=service.routes),
        Middleware(BeforeMiddleware),
    ]


def inside(service: Composition, app: FastAPI) -> list[Middleware]:
    """Return what stands inside of the application's own middleware, if any: the response cache.

    Middleware sees each request as it came, and what it adds to an answer is kept for nobody.
    """
    own: list[type] = [layer.cls for layer in app.user_middleware]  # type: ignore[misc]
    if not own:
        return []
    return [
        Middleware(AfterMiddleware),
        Middleware(
            ResponseCacheMiddleware,
            cache=service.cache,
            routes=lambda: service.routes(),  # noqa: PLW0108 - known when all is built
            is_guarded=any(cls not in LETS_EVERYBODY_IN for cls in own),
        ),
    ]


def root_path(settings: Settings, app: FastAPI) -> list[Middleware]:
    """Return the layer that knows the prefix of a front; none where there can be none.

    What FastAPI(root_path=) says means what FastAPI makes of it: links only.

    Raises:
        RuntimeError: The application says another one than ROOT_PATH.
    """
    own = app.root_path.rstrip("/")
    if own and settings.root_path not in {"", own}:
        raise RuntimeError(
            f"ROOT_PATH is {settings.root_path} and FastAPI(root_path=) is {own}: unset one."
        )
    prefix, hops = settings.root_path, settings.trusted_proxy_hops
    return [Middleware(RootPathMiddleware, root_path=prefix, hops=hops)] if prefix or hops else []


def cors(service: Composition, app: FastAPI) -> list[Middleware]:
    """Return the layer that lets pages of CORS_ORIGINS read answers; none without them.

    Raises:
        RuntimeError: The application has such a layer itself.
    """
    origins = service.settings.cors_origins
    if not origins:
        return []
    if cors_layers(app):
        raise RuntimeError(
            "CORS_ORIGINS is set and the application adds a CORSMiddleware, which would never see "
            "a preflight: unset the one or remove the other."
        )
    return [Middleware(CorsMiddleware, origins=AllowedOrigins(origins))]


def preflight(service: Composition) -> list[Middleware]:
    """Return the layer that answers what browsers ask before they send; none without origins."""
    origins = service.settings.cors_origins
    return [Middleware(PreflightMiddleware, origins=origins)] if origins else []


def docs_paths(service: Composition, app: FastAPI) -> set[str]:
    """Return the paths of FastAPI's own pages, which load scripts from elsewhere."""
    own = (app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url)
    return {*service.docs_paths, *(path for path in own if path)}


def rate_limit(service: Composition) -> list[Middleware]:
    """Return the layer that counts RATE_LIMIT_PER_MINUTE; none at 0."""
    limit = service.settings.rate_limit_per_minute
    if not limit:
        return []
    return [
        Middleware(
            RateLimitMiddleware, clients=service.redis, requests=limit, registry=service.registry
        )
    ]


def body_limit(service: Composition, app: FastAPI) -> list[Middleware]:
    """Return the layer that holds LIMIT_BODY_BYTES; none at 0, or where FastAPI has a limit."""
    limit = service.settings.limit_body_bytes
    if not limit or app.max_body_size is not None:
        return []
    return [Middleware(BodyLimitMiddleware, limit_bytes=limit, routes=service.routes)]
