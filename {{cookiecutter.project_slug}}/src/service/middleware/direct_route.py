"""Routes that are answered without the machinery that FastAPI has for every need of any route."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

JSON = (b"content-type", b"application/json")
NO_BODY = frozenset({204, 205, 304})
RECEIVED = ("path_params", "query_params", "headers", "cookies")


class Overrides:
    """The `dependency_overrides` of an application that a router does not know yet."""

    def __init__(self) -> None:
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}


class DirectRoute(APIRoute):
    """A route of FastAPI's that answers in half the time where it can: `route_class=DirectRoute`.

    FastAPI makes two exit stacks, a Response to take headers from, a layer for exceptions and maps
    of query, headers and cookies for each request, whether anything asks for them. A coroutine with
    a typed return needs none of that while it takes no body and its dependencies are coroutines
    that take parameters and the request. All other routes, and requests that are traced or whose
    dependencies are overridden, go FastAPI's way.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.overrides = options["dependency_overrides_provider"] = Overrides()
        super().__init__(path, endpoint, **options)
        self.begins_with = ""
        if is_direct(self):
            self.app = Direct(self, self.app)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # Routes are tried in order: a glance at the path spares most of them a microsecond.
        if not scope.get("root_path") and not scope["path"].startswith(self.begins_with):
            return Match.NONE, {}
        return super().matches(scope)


def add_routes(app: FastAPI, *routers: APIRouter) -> None:
    """Add the routes of `routers` to an application, reads first: they are tried in order.

    Not `include_router`: since it nests, each request is matched twice.
    """
    routes = [route for router in routers for route in router.routes]
    for route in routes:
        if isinstance(route, DirectRoute):
            route.overrides.dependency_overrides = app.dependency_overrides
            route.begins_with = route.path.partition("{")[0]
    app.router.routes += sorted(routes, key=lambda route: "GET" not in route_methods(route))


def route_methods(route: object) -> set[str]:
    """Return the methods that a route answers; none of a mount or a WebSocket."""
    return getattr(route, "methods", None) or set()


class Direct:
    """Answers the requests of one route; `usual` is FastAPI's own way to do it."""

    def __init__(self, route: DirectRoute, usual: ASGIApp) -> None:
        assert route.response_field is not None  # noqa: S101 - `is_direct` has seen to it
        self._usual = usual
        self._overrides = route.overrides
        self._endpoint = Call(route.dependant)
        self._status = route.status_code or 200
        self._field = route.response_field

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._overrides.dependency_overrides or scope.get("fastapi.telemetry") is not None:
            await self._usual(scope, receive, send)
            return
        errors: list[Any] = []
        answer = await self._endpoint(Request(scope, receive, send), {}, errors)
        if errors:
            raise RequestValidationError(errors)
        if isinstance(answer, Response):
            await answer(scope, receive, send)
            return
        body = self._serialize(answer)
        headers = [(b"content-length", b"%d" % len(body)), JSON]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _serialize(self, answer: Any) -> bytes:
        value, errors = self._field.validate(answer, {}, loc=("response",))
        if errors:
            raise ResponseValidationError(errors=errors, body=answer)
        return self._field.serialize_json(value)


class Call:
    """An endpoint or a dependency with what it is called with, found out once."""

    def __init__(self, dependant: Dependant) -> None:
        assert dependant.call is not None  # noqa: S101 - only FastAPI makes these, with a call
        self._function: Callable[..., Awaitable[Any]] = dependant.call
        self._name = dependant.name
        self._use_cache = dependant.use_cache
        self._inner = [Call(inner) for inner in dependant.dependencies]
        names = (dependant.request_param_name, dependant.http_connection_param_name)
        self._request_names = [name for name in names if name]
        self._path, models = split(dependant)
        fields = [models, dependant.query_params, dependant.header_params, dependant.cookie_params]
        self._parameters: list[tuple[Sequence[ModelField], str]] = [
            pair for pair in zip(fields, RECEIVED, strict=True) if pair[0]
        ]

    async def __call__(self, request: Request, results: dict[int, Any], errors: list[Any]) -> Any:
        """Return the function's result; `results` are those of this request's dependencies.

        What is wrong with the parameters goes to `errors`; then the function is not called.
        """
        arguments: dict[str, Any] = {}
        known = len(errors)
        for inner in self._inner:
            result = await inner.cached(request, results, errors)
            if inner._name is not None:  # noqa: SLF001 - of the same class
                arguments[inner._name] = result  # noqa: SLF001
        for name in self._request_names:
            arguments[name] = request
        for field in self._path:
            given = request.path_params[field.alias]
            arguments[field.name], wrong = field.validate(given, loc=("path", field.alias))
            errors += wrong
        for fields, received in self._parameters:
            values, wrong = request_params_to_args(fields, getattr(request, received))
            arguments |= values
            errors += wrong
        return None if len(errors) > known else await self._function(**arguments)

    async def cached(self, request: Request, results: dict[int, Any], errors: list[Any]) -> Any:
        """Return the result of this request's first call, unless the dependency wants its own."""
        key = id(self._function)
        if self._use_cache and key in results:
            return results[key]
        known = len(errors)
        result = await self(request, results, errors)
        if len(errors) == known:
            results[key] = result
        return result


def split(dependant: Dependant) -> tuple[list[ModelField], list[ModelField]]:
    """Return the parameters that are a piece of the path each, and models of several.

    The first are just validated: FastAPI's search for what else they could be is 6 us of 77.
    """
    pieces = [one for one in dependant.path_params if f"{{{one.alias}" in (dependant.path or "")]
    return pieces, [one for one in dependant.path_params if one not in pieces]


def is_direct(route: APIRoute) -> bool:
    """Return whether a route needs nothing that only FastAPI's machinery gives."""
    if route.body_field or route.stream_item_field or route.response_field is None:
        return False
    if route.max_body_size is not None or route.status_code in NO_BODY:
        return False
    usual_response = isinstance(route.response_class, DefaultPlaceholder)
    return usual_response and serializes_all(route) and is_simple(route.dependant)


def serializes_all(route: APIRoute) -> bool:
    """Return whether the whole of what a route returns is its answer."""
    return route.response_model_by_alias and not (
        route.response_model_include
        or route.response_model_exclude
        or route.response_model_exclude_unset
        or route.response_model_exclude_defaults
        or route.response_model_exclude_none
    )


def is_simple(dependant: Dependant) -> bool:
    """Return whether a call takes no more than parameters, the request and simple dependencies."""
    special = (
        dependant.body_params
        or dependant.websocket_param_name
        or dependant.response_param_name
        or dependant.background_tasks_param_name
        or dependant.security_scopes_param_name
        or dependant.own_oauth_scopes
        or dependant.parent_oauth_scopes
        or dependant.concurrency
    )
    return (
        not special
        and is_coroutine(dependant.call)
        and all(is_simple(inner) for inner in dependant.dependencies)
    )


def is_coroutine(function: Any) -> bool:
    """Return whether calling a function, or an object, gives a coroutine."""
    return inspect.iscoroutinefunction(function) or (
        not inspect.isclass(function)
        and not inspect.isroutine(function)
        and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    )
