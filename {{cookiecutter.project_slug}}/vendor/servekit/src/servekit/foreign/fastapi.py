"""What FastAPI and Starlette keep private, and we use to match and answer requests faster."""

from collections.abc import Callable

from fastapi import APIRouter, FastAPI
from fastapi._body_limit import AppBodyLimitMiddleware, wrap_app_with_body_limit
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import (
    _apply_router_form_limits as apply_form_limits,
    _EffectiveRouteContext as EffectiveRoute,
    _extract_endpoint_context as endpoint_context,
    _get_fastapi_scope as fastapi_scope,
    _IncludedRouter as IncludedRouter,
    _update_scope as update_scope,
)
from fastapi.telemetry._api import _route_selected as route_selected
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware

__all__ = [
    "AppBodyLimitMiddleware",
    "DefaultPlaceholder",
    "Dependant",
    "EffectiveRoute",
    "ExceptionTelemetryMiddleware",
    "IncludedRouter",
    "ModelField",
    "apply_form_limits",
    "endpoint_context",
    "fastapi_scope",
    "has_low_priority_routes",
    "on_routes_changed",
    "request_params_to_args",
    "route_selected",
    "telemetry_is_off",
    "update_scope",
    "wrap_app_with_body_limit",
]


def has_low_priority_routes(router: APIRouter) -> bool:
    """Return whether a router, or one that it includes, serves a frontend behind its routes."""
    return next(iter(router._iter_low_priority_routes()), None) is not None  # noqa: SLF001


def on_routes_changed(router: APIRouter, call: Callable[[], None]) -> None:
    """Call a function whenever FastAPI notes that routes were added to a router."""
    note = router._mark_routes_changed  # noqa: SLF001

    def note_and_call() -> None:
        note()
        call()

    router._mark_routes_changed = note_and_call  # type: ignore[method-assign] # noqa: SLF001


def telemetry_is_off(app: FastAPI) -> bool:
    """Return whether an application was made without any of FastAPI's own telemetry."""
    return not any(app._telemetry[name] for name in ("tracing", "metrics", "logs"))  # noqa: SLF001
