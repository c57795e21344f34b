"""What FastAPI and Starlette keep private, and we use to match and answer requests faster."""

from typing import Protocol
from weakref import WeakSet

from fastapi import APIRouter, FastAPI, routing
from fastapi._body_limit import AppBodyLimitMiddleware, wrap_app_with_body_limit
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
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
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware

from servekit.foreign.originals import is_original

__all__ = [
    "AppBodyLimitMiddleware",
    "AsyncExitStackMiddleware",
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
    "request_params_to_args",
    "route_selected",
    "telemetry_is_off",
    "tell_of_changes",
    "update_scope",
    "wrap_app_handling_exceptions",
    "wrap_app_with_body_limit",
]


LISTENERS = "_servekit_listeners"


def has_low_priority_routes(router: APIRouter) -> bool:
    """Return whether a router, or one that it includes, serves a frontend behind its routes."""
    return next(iter(router._iter_low_priority_routes()), None) is not None  # noqa: SLF001


class RoutesListener(Protocol):
    """Who wants to hear that the routes of a router have changed."""

    def mark_stale(self) -> None: ...


def tell_of_changes(router: APIRouter, listener: RoutesListener) -> None:
    """Tell somebody, for as long as he lives, when FastAPI notes that a router's routes changed.

    A router of a module outlives the applications that include it.
    """
    listeners: WeakSet[RoutesListener] | None = vars(router).get(LISTENERS)
    if listeners is None:
        listeners = vars(router)[LISTENERS] = WeakSet()
        note = router._mark_routes_changed  # noqa: SLF001

        def note_and_tell() -> None:
            note()
            for one in list(listeners):
                one.mark_stale()

        router._mark_routes_changed = note_and_tell  # type: ignore[method-assign] # noqa: SLF001
    listeners.add(listener)


def forget_candidates(included: IncludedRouter) -> None:
    """Have FastAPI build an included router's routes anew when they are asked for next."""
    included._effective_candidates_version = None  # noqa: SLF001


def exception_handlers(layer: ExceptionMiddleware) -> tuple[object, object]:
    """Return the handlers of a layer, by exception and by status, as they are from now on."""
    return layer._exception_handlers, layer._status_handlers  # noqa: SLF001


def is_own_answer(app: object) -> bool:
    """Return whether what answers a route is just what FastAPI made, with nothing around it."""
    return is_original(app, "fastapi.routing", "request_response.<locals>.app")


def answers_are_original() -> bool:
    """Return whether nobody, as tools that trace do, replaced how FastAPI answers a route."""
    names = ("get_request_handler", "run_endpoint_function", "serialize_response")
    return (
        all(is_original(getattr(routing, name), "fastapi.routing", name) for name in names)
        and is_original(routing.request_response, "fastapi.routing", "request_response")
        and is_original(
            vars(routing)["solve_dependencies"], "fastapi.dependencies.utils", "solve_dependencies"
        )
    )


def entrances_are_original(app: FastAPI) -> bool:
    """Return whether a request enters an application as FastAPI and Starlette have it."""
    return (
        type(app).__call__ is FastAPI.__call__
        and is_original(FastAPI.__call__, "fastapi.applications", "FastAPI.__call__")
        and is_original(Starlette.__call__, "starlette.applications", "Starlette.__call__")
    )


def telemetry_is_off(app: FastAPI) -> bool:
    """Return whether an application was made without any of FastAPI's own telemetry."""
    return not any(app._telemetry[name] for name in ("tracing", "metrics", "logs"))  # noqa: SLF001
