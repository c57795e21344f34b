"""What is put into Starlette's requests: a scope may say who answers for what is read of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

from starlette.datastructures import URL, Headers, QueryParams
from starlette.requests import HTTPConnection

MAPPINGS = ("headers", "cookies", "query_params")
OTHERS = ("client", "session", "user", "auth")
FRAMEWORK = frozenset({"starlette", "starlette_compress", "fastapi", "servekit", "opentelemetry"})
# Written for any route, as a user's own code; or about to answer with what a route returned.
NOT_FOR_ITSELF = ("starlette.middleware.", "fastapi._compat", "fastapi.encoders")
# Who is behind these reads, not they.
PASSING_ON = frozenset({"servekit.foreign.requests", "servekit.response_cache.veils"})
PASSING_ON |= {"servekit.response_cache.view", "collections.abc"}
# What routers look for in every scope, and place there themselves.
PLACED_BY_FRAMEWORKS = frozenset({"router", "path_params", "fastapi", "fastapi.telemetry"})
BY_REQUEST = frozenset({"__getitem__", "__iter__", "__len__"})


class Guard(Protocol):
    """What answers for a request: a method for each mapping, which takes the request."""

    def headers(self, request: Any) -> Any: ...
    def cookies(self, request: Any) -> Any: ...
    def query_params(self, request: Any) -> Any: ...
    def lift_for(self, name: str) -> None:
        """Hear that one of OTHERS is about to be read."""


def guard_requests(key: str) -> None:
    """Have every request ask what its scope holds under `key`, if anything, for what is read of it.

    Called once: there is no other place that whoever makes a request, FastAPI, a middleware or a
    route, goes through.
    """
    for name in MAPPINGS:
        setattr(HTTPConnection, name, guarded_mapping(key, name, vars(HTTPConnection)[name]))
    for name in OTHERS:
        setattr(HTTPConnection, name, guarded(key, name, vars(HTTPConnection)[name]))


def guarded_mapping(key: str, name: str, usual: property) -> property:
    """Return a property that the guard gives."""
    read: Any = usual.fget
    slot = f"_guarded_{name}"

    def ask(request: Any) -> Any:
        guard = request.scope.get(key)
        if guard is None:
            return read(request)
        found = vars(request).get(slot)  # made once a request, as Starlette does
        if found is None:
            found = vars(request)[slot] = getattr(guard, name)(request)
        return found

    return property(ask, doc=usual.__doc__)


def guarded(key: str, name: str, usual: property) -> property:
    """Return a property that tells the guard, and then reads."""
    read: Any = usual.fget

    def ask(request: Any) -> Any:
        guard: Guard | None = request.scope.get(key)
        if guard is not None:
            guard.lift_for(name)
        return read(request)

    return property(ask, doc=usual.__doc__)


def readers() -> Iterator[FrameType]:
    """Yield the frames behind a read, innermost first; who only passes it on is left out."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to a caller
    while frame is not None:
        if not passes_on(frame):
            yield frame
        frame = frame.f_back


def passes_on(frame: FrameType) -> bool:
    """Return whether a frame reads what its caller asked it to."""
    module, code = frame.f_globals.get("__name__", ""), frame.f_code
    if module == "starlette.datastructures":  # a URL takes host and query for itself
        return code is not URL.__init__.__code__
    by_request = module == "starlette.requests" and code.co_name in BY_REQUEST
    return by_request or module in PASSING_ON


def is_framework(frame: FrameType) -> bool:
    """Return whether a frame is of what stands between a server and the user's code."""
    module = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in FRAMEWORK and not module.startswith(NOT_FOR_ITSELF)


class Veil(Protocol):
    """Decides whether a read is of what may be seen, and whether all is."""

    @property
    def lifted(self) -> bool:
        """Whether there is none any more."""

    def look(self, name: str) -> None:
        """Hear that one is asked for by its name."""

    def look_at_all(self) -> None:
        """Hear that all there are are read."""


class VeiledHeaders(Headers):
    """Headers of which some are behind a veil; until it is lifted they are not there."""

    def __init__(self, visible: Headers, real: Headers, veil: Veil) -> None:
        self._visible, self._real, self._veil = visible, real, veil

    @property
    def _list(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        self._veil.look_at_all()
        return self._now._list  # noqa: SLF001 - Starlette's own methods ask for it

    @property
    def _now(self) -> Headers:
        return self._real if self._veil.lifted else self._visible

    def __getitem__(self, key: str) -> str:
        self._veil.look(key)
        return self._now[key]

    def __contains__(self, key: Any) -> bool:
        self._veil.look(key)
        return key in self._now

    def getlist(self, key: str) -> list[str]:
        """Return all values of a field."""
        self._veil.look(key)
        return self._now.getlist(key)


class VeiledQuery(QueryParams):
    """Parameters of which some are behind a veil; until it is lifted they are not there."""

    def __init__(self, visible: QueryParams, real: QueryParams, veil: Veil) -> None:
        self._visible, self._real, self._veil = visible, real, veil

    @property
    def _list(self) -> list[tuple[str, str]]:  # type: ignore[override]
        self._veil.look_at_all()
        return self._now._list  # noqa: SLF001 - Starlette's own methods ask for it

    @property
    def _dict(self) -> dict[str, str]:  # type: ignore[override]
        self._veil.look_at_all()
        return self._now._dict  # noqa: SLF001 - likewise

    @property
    def _now(self) -> QueryParams:
        return self._real if self._veil.lifted else self._visible

    def __getitem__(self, key: str) -> str:
        self._veil.look(key)
        return self._now[key]

    def __contains__(self, key: Any) -> bool:
        self._veil.look(key)
        return key in self._now

    def getlist(self, key: Any) -> list[str]:
        """Return all values of a parameter."""
        self._veil.look(key)
        return self._now.getlist(key)
