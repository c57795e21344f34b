"""What is put into Starlette's requests: a scope may say who answers for what is read of it."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection

GUARDED = ("headers", "cookies", "query_params", "client", "session")


def guard_requests(key: str) -> None:
    """Have every request ask what its scope holds under `key`, if anything, for what is read of it.

    The guard has a method of each property's name, which takes the request. Called once: there is
    no other place that whoever makes a request, FastAPI, a middleware or a route, goes through.
    """
    for name in GUARDED:
        setattr(HTTPConnection, name, guarded(key, name, vars(HTTPConnection)[name]))


def guarded(key: str, name: str, usual: property) -> property:
    """Return a property that asks the guard."""
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
