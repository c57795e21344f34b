"""Exceptions that reach FastAPI become problems."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from servekit.layers.failures import say_why
from servekit.problems import (
    as_json,
    problem_response,
    status_of,
    unavailable_headers,
)
from servekit.refusal_log import RefusalLog
from servekit.routing.routes import Routes, read_routes
from servekit.routing.template import allowed_methods
from servekit.scope import SCOPE_KEY

INPUT_BYTES_MAX = 32_768
"""Size from which on a list of errors no longer repeats what was sent."""
ERRORS_BYTES_MAX = 65_536
"""Size from which on it ends."""
PASS_ON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
PASS_ON |= orjson.OPT_PASSTHROUGH_SUBCLASS

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


async def http_error(request: Request, error: HTTPException) -> Response:
    """Answer an HTTPException with what was raised as `detail`, as FastAPI does."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = with_methods(request, headers)
    return problem_response(request.scope, error.status_code, detail=error.detail, headers=headers)


def with_methods(request: Request, headers: dict[str, str]) -> dict[str, str]:
    """Return the headers of a 405 with all that its path takes, unless the route named them."""
    if "app_root_path" in request.scope:  # a mount's routes are not the application's
        return headers
    routes = routes_of(request)
    names = {name.lower() for name in headers}
    by_route = "allow" in names and routes.of(request.scope) is not None
    methods = [] if by_route else allowed_methods(routes, request.scope)
    if not methods:
        return headers
    kept = {name: value for name, value in headers.items() if name.lower() != "allow"}
    return kept | {"allow": ", ".join(methods)}


def routes_of(request: Request) -> Routes:
    """Return the table of the application that answers."""
    service: Any = request.scope.get(SCOPE_KEY)
    routes: Routes = read_routes(request.app) if service is None else service.routes()
    return routes


async def validation_error(request: Request, error: RequestValidationError) -> Response:
    """Answer bad input with FastAPI's list of what is wrong."""
    return problem_response(request.scope, 422, detail=errors_as_json(error.errors()))


def errors_as_json(errors: Iterable[Any]) -> list[orjson.Fragment]:
    """Return validation errors as FastAPI sends them, up to a bound.

    One of a model names all of the model as its input: of a large body that is as often sent back
    as errors are in it. Input that no JSON can hold is left out, where FastAPI answers 500.
    """
    shown: list[orjson.Fragment] = []
    size, with_input = 0, True
    for error in errors:
        text = encoded(error) if with_input else None
        if text is None or size + len(text) > INPUT_BYTES_MAX:
            with_input = with_input and text is None
            text = encoded(without_input(error)) or b"{}"
        shown.append(orjson.Fragment(text))
        size += len(text)
        if size > ERRORS_BYTES_MAX:
            break
    return shown


def without_input(error: Any) -> Any:
    """Return what is wrong, without what the client sent."""
    if not isinstance(error, Mapping):
        return str(error)
    return {name: error[name] for name in ("type", "loc", "msg") if name in error}


def encoded(error: Any) -> bytes | None:
    """Return the JSON of one error; None where there is none."""
    try:
        return orjson.dumps(error, default=jsonable_encoder, option=PASS_ON)
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return as_json(jsonable_encoder(error))
    except (TypeError, ValueError, RecursionError):
        return None


def problem_handlers(statuses: Mapping[type[Exception], int] | None = None) -> dict[Any, Handler]:
    """Return the exception handlers of a FastAPI application.

    `statuses` maps exceptions of the domain to a status; their text is for the log, sampled. A 503
    gets a jittered Retry-After. Anything else is answered and logged by ErrorsMiddleware.
    """
    known = dict(statuses or {})
    failures = RefusalLog()

    async def domain_error(request: Request, error: Exception) -> Response:
        status = status_of(error, known)
        say_why(failures, request.scope, status, error)
        headers = {n.decode(): v.decode() for n, v in unavailable_headers(status)}
        return problem_response(request.scope, status, headers=headers)

    handlers: dict[Any, Handler] = dict.fromkeys(known, domain_error)
    return handlers | {HTTPException: http_error, RequestValidationError: validation_error}
