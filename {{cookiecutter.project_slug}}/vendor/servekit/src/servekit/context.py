"""The way from a request to the service that answers it, for everything that routes ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servekit.scope import SCOPE_KEY

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from servekit.service import Service


def service_of(connection: HTTPConnection) -> Service:
    """Return the service of a request, in mounted applications too.

    Raises:
        RuntimeError: The application has none.
    """
    service: Any = connection.scope.get(SCOPE_KEY)
    if service is None:
        raise RuntimeError(
            "This application has no Service: call `Service(settings).install(app)`."
        )
    found: Service = service
    return found
