"""Exceptions that reach FastAPI become problems."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.middleware.problems import (
    MEDIA_TYPE,
    TITLES,
    problem_response,
    status_of,
    unavailable_headers,
)
from service.middleware.routes import allowed_methods

ERRORS_SHOWN = 20
FIELD_LENGTH = 100

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


async def http_error(request: Request, error: HTTPException) -> Response:
    """Answer an HTTPException; a detail that is not text becomes the member `errors`."""
    title = TITLES.get(error.status_code)
    text = error.detail if isinstance(error.detail, str) and error.detail != title else None
    members: dict[str, Any] = {} if isinstance(error.detail, str) else {"errors": error.detail}
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = allowed_methods(request.app.routes, request.scope["path"])
        if methods:
            headers = {name: headers[name] for name in headers if name.lower() != "allow"}
            headers["allow"] = ", ".join(methods)
    return problem_response(
        request.scope, error.status_code, detail=text, headers=headers, **members
    )


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
    jittered Retry-After. Anything else becomes a plain 500; ErrorsMiddleware logs it.
    """
    known = dict(statuses or {})

    async def domain_error(request: Request, error: Exception) -> Response:
        status = status_of(error, known)
        headers = {n.decode(): v.decode() for n, v in unavailable_headers(status)}
        return problem_response(request.scope, status, headers=headers)

    handlers: dict[Any, Handler] = dict.fromkeys((*known, Exception), domain_error)
    return handlers | {HTTPException: http_error, RequestValidationError: validation_error}


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """Return what documents every error in OpenAPI, for `FastAPI(responses=...)`."""
    text = {"type": "string"}
    error = {"type": "object", "properties": {"field": text, "message": text}}
    members = dict.fromkeys(("type", "title", "detail", "instance", "request_id"), text)
    schema = {
        "type": "object",
        "title": "Problem",
        "required": ["type", "title", "status"],
        "properties": {
            **members,
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": error},
        },
    }
    return {"default": {"description": "Problem", "content": {MEDIA_TYPE: {"schema": schema}}}}
