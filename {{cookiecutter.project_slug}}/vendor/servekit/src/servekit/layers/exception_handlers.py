"""Exceptions that reach FastAPI become problems."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from servekit.problems import (
    TITLES,
    problem_response,
    status_of,
    unavailable_headers,
)
from servekit.routing.routes import Routes, read_routes
from servekit.routing.template import allowed_methods
from servekit.scope import SCOPE_KEY

ERRORS_SHOWN = 20
FIELD_LENGTH = 100

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


async def http_error(request: Request, error: HTTPException) -> Response:
    """Answer an HTTPException; a detail that is not text becomes the member `errors`."""
    title = TITLES.get(error.status_code)
    text = error.detail if isinstance(error.detail, str) and error.detail != title else None
    members: dict[str, Any] = {} if isinstance(error.detail, str) else {"errors": error.detail}
    headers = dict(error.headers or {})
    in_mount = "app_root_path" in request.scope  # whose routes are not the application's
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and not in_mount:
        methods = allowed_methods(routes_of(request), request.scope)
        if methods:
            headers = {name: headers[name] for name in headers if name.lower() != "allow"}
            headers["allow"] = ", ".join(methods)
    return problem_response(
        request.scope, error.status_code, detail=text, headers=headers, **members
    )


def routes_of(request: Request) -> Routes:
    """Return the table of the application that answers."""
    service: Any = request.scope.get(SCOPE_KEY)
    routes: Routes = read_routes(request.app) if service is None else service.routes()
    return routes


async def validation_error(request: Request, error: RequestValidationError) -> Response:
    """Answer bad input with the fields named; what was sent is never repeated."""
    errors = [
        {"field": field_name(item["loc"]), "message": item["msg"]}
        for item in error.errors()[:ERRORS_SHOWN]
    ]
    return problem_response(request.scope, 422, detail="The request is not valid.", errors=errors)


def field_name(location: Iterable[int | str]) -> str:
    """Return a location as dotted text, bounded: clients choose some names."""
    return ".".join(map(str, location))[:FIELD_LENGTH]


def problem_handlers(statuses: Mapping[type[Exception], int] | None = None) -> dict[Any, Handler]:
    """Return the exception handlers of a FastAPI application.

    `statuses` maps exceptions of the domain to a status; their text is not shown. A 503 gets a
    jittered Retry-After. Anything else is answered and logged by ErrorsMiddleware.
    """
    known = dict(statuses or {})

    async def domain_error(request: Request, error: Exception) -> Response:
        status = status_of(error, known)
        headers = {n.decode(): v.decode() for n, v in unavailable_headers(status)}
        return problem_response(request.scope, status, headers=headers)

    handlers: dict[Any, Handler] = dict.fromkeys(known, domain_error)
    return handlers | {HTTPException: http_error, RequestValidationError: validation_error}
