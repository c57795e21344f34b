"""What an application is refused for when it starts: what could not be honoured once it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from fastapi import FastAPI

from servekit.context import FromService
from servekit.routing.routes import Entry, Routes, mounted_application, read_routes, walk


class UnmetDependency(LookupError):  # noqa: N818 - what it is about
    """A route depends on what was not added to the service."""


def refuse_unmet(routes: Routes, service: Any, app: FastAPI) -> None:
    """Refuse routes whose dependencies the service cannot give, unless they are overridden.

    Raises:
        UnmetDependency: Each is named, with what to do.
    """
    found = [
        f"{'/'.join(sorted(entry.methods)) or 'WebSocket'} {path}: {lacking}"
        for entry, path, lacking in unmet(routes, service, app.dependency_overrides)
    ]
    if found:
        raise UnmetDependency("\n".join(dict.fromkeys(found)))


def unmet(
    routes: Routes, service: Any, overridden: Collection[Any], prefix: str = ""
) -> Iterator[tuple[Entry, str, str]]:
    """Yield routes, their paths and what they depend on and the service lacks.

    A mounted application has overrides of its own, and may have a service of its own.
    """
    for entry in routes.entries:
        path = prefix + entry.path
        for part in walk(entry.dependant) if entry.dependant is not None else ():
            needed = isinstance(part.call, FromService) and part.call not in overridden
            if needed and (lacking := part.call.lacks(service)):
                yield entry, path, lacking
        if entry.mounted is not None:
            inner = mounted_application(entry.route)
            own = getattr(getattr(inner, "state", None), "servekit", service)
            theirs = getattr(inner, "dependency_overrides", ())
            yield from unmet(entry.mounted(), own, theirs, path)


def refuse_closed_services(app: FastAPI) -> None:
    """Refuse mounted applications with a service of their own that nobody has opened.

    Raises:
        RuntimeError: There is one.
    """
    for path, mounted in read_routes(app).applications():
        own = getattr(getattr(mounted, "state", None), "servekit", None)
        if own is not None and not own.draining.ready:
            raise RuntimeError(
                f"The application mounted at {path} has a Service of its own, which nobody opened: "
                "install one, in the outermost application, or run the other's lifespan in yours."
            )


def refuse_tracebacks(app: FastAPI, routes: Routes) -> None:
    """Refuse applications that answer an error with its traceback.

    Raises:
        RuntimeError: There is one.
    """
    for path, found in [("", app), *routes.applications()]:
        inner: Any = found
        while not hasattr(inner, "debug") and hasattr(inner, "app"):
            inner = inner.app  # what was put around a mounted application
        if getattr(inner, "debug", False) is True:
            place = f"The application mounted at {path}" if path else "The application"
            raise RuntimeError(
                f"{place} has debug=True, which sends tracebacks to clients, and "
                "ENVIRONMENT=production refuses it: leave it out."
            )
