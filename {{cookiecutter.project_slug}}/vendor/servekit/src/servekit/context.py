"""The way from a request to the service that answers it, for everything that routes ask for.

It knows nothing of what a service is made of: whoever takes a part of it says its type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servekit.scope import SCOPE_KEY, current_service

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection


class NotOpen(RuntimeError):  # noqa: N818 - what it is about
    """A part of a service is used outside of its application's lifespan."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not open, for the application's lifespan does not run. A test client runs "
            "it while it is entered: `with TestClient(app) as client:`. httpx's ASGITransport does "
            "not: give it the fixture `running_app` of servekit.testing."
        )


class FromService:
    """A dependency on something that may not have been added to the service."""

    def lacks(self, service: Any) -> str:
        """Return what is missing, and how to add it; nothing if it is there."""
        raise NotImplementedError


def service_of(connection: HTTPConnection) -> Any:
    """Return the service of a request, in mounted applications too.

    Raises:
        RuntimeError: The application has none.
    """
    service: Any = connection.scope.get(SCOPE_KEY)
    if service is None:
        raise RuntimeError(
            "This application has no Service: call `Service(settings).install(app)`."
        )
    return service


def require_current_service() -> Any:
    """Return the service whose request or lifespan runs here.

    Raises:
        RuntimeError: This is neither a request nor a lifespan of an application with a service.
    """
    service = current_service.get()
    if service is None:
        raise RuntimeError(
            "No service runs this. Call it in a request or in the lifespan of an application that "
            "has one (`Service(settings).install(app)`), or in a task that these start; elsewhere, "
            "bind the function to a cache of your own: `function.bound_to(cache)`."
        )
    return service
