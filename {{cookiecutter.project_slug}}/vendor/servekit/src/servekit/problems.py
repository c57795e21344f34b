"""Errors to clients: RFC 9457 problem documents with FastAPI's `detail`, without traces."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope, Send

from servekit.scope import REQUEST_ID_KEY, SESSION_KEY

__all__ = ["problem_response", "problem_responses"]

MEDIA_TYPE = "application/problem+json"
TITLES = {status.value: status.phrase for status in HTTPStatus}
BODILESS = frozenset({204, 205, 304})
DETAIL = "What was raised: mostly a text; of a 422 the list of what is wrong with the request."

Headers = Iterable[tuple[bytes, bytes]]


def problem_body(
    status: int, *, title: str | None = None, detail: Any = None, **members: Any
) -> bytes:
    """Return the JSON text of a problem; `members` are extension members, None is left out.

    `detail` is any JSON, as an HTTPException's is; without one it is the title, so that whoever
    reads what FastAPI always sends finds it.
    """
    title = title or TITLES.get(status, "Error")
    problem = {"type": "about:blank", "title": title, "status": status}
    problem |= {"detail": title if detail is None else detail} | members
    return as_json({key: value for key, value in problem.items() if value is not None})


def as_json(value: Any) -> bytes:
    """Return the JSON of whatever FastAPI can send.

    Raises:
        TypeError, ValueError: FastAPI could not either.
    """
    try:
        return orjson.dumps(value)
    except TypeError:  # long integers, keys that are no text, halves of a character
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def problem_headers(body: bytes, headers: Headers = ()) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a problem, never to be stored unless `headers` says so."""
    own = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    return [field for field in own if field[0] not in names] + given


async def send_problem(
    send: Send,
    status: int,
    *,
    title: str | None = None,
    detail: Any = None,
    headers: Headers = (),
    **members: Any,
) -> None:
    """Send a whole response that is a problem; pass `**about(scope)` to name the request."""
    body = problem_body(status, title=title, detail=detail, **members)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": problem_headers(body, headers),
        }
    )
    await send({"type": "http.response.body", "body": body})


def about(scope: Scope) -> dict[str, Any]:
    """Return the members that tell which request a problem is about."""
    raw_path = scope.get("raw_path") or b""
    return {
        "instance": raw_path.decode("ascii", "replace") or None,
        "request_id": scope.get(REQUEST_ID_KEY),
    }


def late_cookies(scope: Scope) -> Headers:
    """Return what the session's layer has no answer for any more: the cookie of a new id.

    The route that made it failed, and is answered further out; without it a login is a logout.
    """
    session = scope.get(SESSION_KEY)
    if session is None or session.begun:
        return []
    cookies: Headers = session._new_cookie()  # noqa: SLF001 - no user is to see this name
    return cookies


def retry_after() -> bytes:
    """Return seconds for Retry-After, spread so that refused clients do not come back together."""
    return b"%d" % random.randint(1, 3)  # noqa: S311 - spreads load, protects nothing


def problem_response(
    scope: Scope,
    status: int,
    *,
    detail: Any = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return a problem as a response for an exception handler; `detail` is any JSON."""
    if status in BODILESS or status < HTTPStatus.OK:
        return Response(status_code=status, headers=headers)
    given = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()
    ]
    body = problem_body(status, detail=detail, **about(scope), **members)
    response = Response(body, status)
    response.raw_headers = problem_headers(body, given)
    return response


def status_of(error: BaseException, statuses: Mapping[type[Exception], int]) -> int:
    """Return the status that stands for an exception; 500 when unknown.

    What is raised `from` a known one is the service's own, and has a trace in the log.
    """
    return next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), 500)


def unavailable_headers(status: int) -> list[tuple[bytes, bytes]]:
    """Return the Retry-After that a 503 carries."""
    return [(b"retry-after", retry_after())] if status == HTTPStatus.SERVICE_UNAVAILABLE else []


def problem_responses(
    descriptions: Mapping[int, str] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for statuses that are problem documents: `{404: "No such product"}`.

    Without any it documents every error, for `FastAPI(responses=...)` or a router.
    """
    text = {"type": "string"}
    members = dict.fromkeys(("type", "title", "instance", "request_id"), text)
    schema = {
        "type": "object",
        "title": "Problem",
        "required": ["type", "title", "status", "detail"],
        "properties": {**members, "status": {"type": "integer"}, "detail": {"description": DETAIL}},
    }
    content = {MEDIA_TYPE: {"schema": schema}}
    if descriptions is None:
        return {"default": {"description": "Problem", "content": content}}
    return {
        status: {"description": description, "content": content}
        for status, description in descriptions.items()
    }
