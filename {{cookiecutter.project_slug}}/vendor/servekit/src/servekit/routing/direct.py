"""Routes that are answered without the machinery that FastAPI has for every need of any route."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.foreign.fastapi import (
    DefaultPlaceholder,
    Dependant,
    ModelField,
    endpoint_context,
    is_own_answer,
    request_params_to_args,
    wrap_app_handling_exceptions,
)
from servekit.routing.innermost import START, handle, has_exits
from servekit.scope import WholeStart

JSON = (b"content-type", b"application/json")
NO_BODY = frozenset({204, 205, 304})
RECEIVED = ("path_params", "query_params", "headers", "cookies")


def direct(route: APIRoute, seen: Any) -> ASGIApp:
    """Return what answers a route in half the time where it can, else FastAPI's own way.

    FastAPI makes two exit stacks, a Response to take headers from, a layer for exceptions and maps
    of query, headers and cookies for each request, whether anything asks for them. A coroutine with
    a typed return needs none of that while it takes no body and its dependencies are coroutines
    that take parameters and the request. All other routes, and requests that are traced or whose
    dependencies are overridden, go FastAPI's way. `seen` is the route with what its routers add.
    """
    kind = type(route)
    altered = (
        kind.handle is not APIRoute.handle
        or kind.get_route_handler is not APIRoute.get_route_handler
        or not {"handle", "matches", "get_route_handler"}.isdisjoint(vars(route))
        or not is_own_answer(seen.app)
    )
    return route.handle if altered or not is_direct(seen) else Direct(route, seen)


class Direct:
    """Answers the requests of one route, as `seen` with what its routers add."""

    def __init__(self, route: APIRoute, seen: Any) -> None:
        self._usual: ASGIApp = route.handle
        self._seen = seen
        self._app = seen.app
        self._provider = seen.dependency_overrides_provider
        self._dependant = seen.dependant
        self._endpoint = Call(seen.dependant)
        self._shows_scope = self._endpoint.shows_scope
        self._status = seen.status_code or 200
        self._field = seen.response_field

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        provider = self._provider
        if (
            (provider is not None and provider.dependency_overrides)
            or scope.get("fastapi.telemetry") is not None
            or self._seen.app is not self._app  # somebody wrapped it since
        ):
            await self._usual(scope, receive, send)
            return
        request = Request(scope, receive, send)
        if self._shows_scope:
            await self._answer_within_stacks(request, scope, receive, send)
            return
        try:
            answer = await self._answer(request)
        except Exception as error:  # noqa: BLE001 - handled as FastAPI does, with this very request
            await handle(error, request, send, started=False)
            return
        if isinstance(answer, Response):
            await wrap_app_handling_exceptions(answer, request)(scope, receive, send)
        else:
            await self._send(answer, send)

    async def _answer(self, request: Request) -> Response | bytes:
        """Return the endpoint's response, or the text of what it returned."""
        errors: list[Any] = []
        answer = await self._endpoint(request, {}, errors)
        if errors:
            raise RequestValidationError(errors, endpoint_ctx=self._place(request.scope))
        return answer if isinstance(answer, Response) else self._serialize(answer, request.scope)

    async def _send(self, body: bytes, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(body)), JSON]
        await send(WholeStart(type=START, status=self._status, headers=headers))
        await send({"type": "http.response.body", "body": body})

    async def _answer_within_stacks(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer while the exit stacks are open that FastAPI leaves in the scope."""
        outer = scope["fastapi_inner_astack"] = AsyncExitStack()
        inner = scope["fastapi_function_astack"] = AsyncExitStack()
        started = False

        def send_tracked(message: Message) -> Awaitable[None]:
            nonlocal started
            started = started or message["type"] == START
            return send(message)

        try:
            try:
                answer = await self._answer(request)
                if has_exits(inner):
                    await inner.aclose()
                if isinstance(answer, Response):
                    await answer(scope, receive, send_tracked)
                else:
                    started = True
                    await self._send(answer, send)
                if has_exits(outer):
                    await outer.aclose()
            except BaseException:
                async with outer, inner:
                    raise
        except Exception as error:  # noqa: BLE001 - handled as FastAPI does, with this very request
            await handle(error, request, send, started=started)

    def _serialize(self, answer: Any, scope: Scope) -> bytes:
        value, errors = self._field.validate(answer, {}, loc=("response",))
        if errors:
            place = self._place(scope)
            raise ResponseValidationError(errors=errors, body=answer, endpoint_ctx=place)
        text: bytes = self._field.serialize_json(value)
        return text

    def _place(self, scope: Scope) -> Any:
        """Return where the endpoint stands, as FastAPI adds it to its errors."""
        place = endpoint_context(self._dependant.call)
        if self._dependant.path:
            prefix = scope.get("root_path", "").rstrip("/")
            place["path"] = f"{scope['method']} {prefix}{self._dependant.path}"
        return place


class Call:
    """An endpoint or a dependency with what it is called with, found out once."""

    def __init__(self, dependant: Dependant) -> None:
        assert dependant.call is not None  # noqa: S101 - only FastAPI makes these, with a call
        self._function: Callable[..., Awaitable[Any]] = dependant.call
        self._name = dependant.name
        self._use_cache = dependant.use_cache
        # Two accesses of one bound method are equal.
        self._key = (dependant.call, dependant.scope)
        self._inner = [Call(inner) for inner in dependant.dependencies]
        names = (dependant.request_param_name, dependant.http_connection_param_name)
        self._request_names = [name for name in names if name]
        own = getattr(dependant.call, "__module__", "").startswith("servekit.")
        self.shows_scope: bool = (bool(self._request_names) and not own) or any(
            inner.shows_scope for inner in self._inner
        )
        """Whether somebody else's code is handed the request."""
        self._path, models = split(dependant)
        fields = [models, dependant.query_params, dependant.header_params, dependant.cookie_params]
        self._parameters: list[tuple[Sequence[ModelField], str]] = [
            pair for pair in zip(fields, RECEIVED, strict=True) if pair[0]
        ]

    async def __call__(self, request: Request, results: dict[Any, Any], errors: list[Any]) -> Any:
        """Return the function's result; `results` are those of this request's dependencies.

        What is wrong with the parameters goes to `errors`; then the function is not called.
        """
        known = len(errors)
        given = await self._depend(request, results, errors) if self._inner else {}
        arguments = self._receive(request, given, errors)
        return None if len(errors) > known else await self._function(**arguments)

    async def _depend(
        self, request: Request, results: dict[Any, Any], errors: list[Any]
    ) -> dict[str, Any]:
        """Return what the dependencies give, by the name of the argument."""
        given: dict[str, Any] = {}
        for inner in self._inner:
            result = await inner.cached(request, results, errors)
            if inner._name is not None:  # noqa: SLF001 - of the same class
                given[inner._name] = result  # noqa: SLF001
        return given

    def _receive(
        self, request: Request, arguments: dict[str, Any], errors: list[Any]
    ) -> dict[str, Any]:
        """Add what the request itself gives."""
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
        return arguments

    async def cached(self, request: Request, results: dict[Any, Any], errors: list[Any]) -> Any:
        """Return the result of this request's first call, unless the dependency wants its own."""
        known = len(errors)
        # What it depends on is asked each time, as FastAPI does: that may want calls of its own.
        given = await self._depend(request, results, errors) if self._inner else {}
        arguments = self._receive(request, given, errors)
        if len(errors) > known:
            return None
        if self._use_cache and self._key in results:
            return results[self._key]
        result = await self._function(**arguments)
        results.setdefault(self._key, result)
        return result


def split(dependant: Dependant) -> tuple[list[ModelField], list[ModelField]]:
    """Return the parameters that are a piece of the path each, and models of several.

    The first are just validated: FastAPI's search for what else they could be is 6 us of 77.
    """
    pieces = [one for one in dependant.path_params if is_piece(one, dependant.path or "")]
    return pieces, [one for one in dependant.path_params if one not in pieces]


def is_piece(field: ModelField, path: str) -> bool:
    """Return whether a parameter is one piece of the path, under the name that it has there."""
    kind = field.field_info.annotation
    model = inspect.isclass(kind) and issubclass(kind, BaseModel)
    renamed = field.field_info.validation_alias not in {None, field.alias}
    return not model and not renamed and f"{{{field.alias}}}" in path


def is_direct(route: Any) -> bool:
    """Return whether a route needs nothing that only FastAPI's machinery gives."""
    if route.body_field or route.stream_item_field or route.response_field is None:
        return False
    if route.max_body_size is not None or route.status_code in NO_BODY:
        return False
    usual_response = isinstance(route.response_class, DefaultPlaceholder)
    return usual_response and serializes_all(route) and is_simple(route.dependant)


def serializes_all(route: Any) -> bool:
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
