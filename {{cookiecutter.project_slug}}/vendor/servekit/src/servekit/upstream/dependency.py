"""An upstream, as routes ask for it by name."""

# Annotations as they are: FastAPI cannot resolve names in those of a callable object.

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from servekit.context import FromService, service_of
from servekit.upstream.client import Upstream


def upstream(name: str) -> Callable[[HTTPConnection], Awaitable[Upstream]]:
    """Return a dependency on one upstream: `Annotated[Upstream, Depends(upstream("rates"))]`.

    An application that has a route with a name which `service.add_upstream` was never given does
    not start.
    """
    return UpstreamByName(name)


@dataclass(frozen=True)
class UpstreamByName(FromService):
    """Two of one name are the same dependency."""

    name: str

    async def __call__(self, connection: HTTPConnection) -> Upstream:
        """Return the upstream.

        Raises:
            LookupError: There is none of this name.
        """
        service = service_of(connection)
        if lacking := self.lacks(service):
            raise LookupError(lacking)
        known: dict[str, Upstream] = service.upstreams
        return known[self.name]

    def lacks(self, service: Any) -> str:
        """Return that there is no upstream of this name, and how to add it; nothing if there is."""
        if self.name in service.upstreams:
            return ""
        names = ", ".join(sorted(service.upstreams)) or "none"
        return (
            f"there is no upstream {self.name!r} (there are: {names}): add it by "
            f"`service.add_upstream({self.name!r}, url)`."
        )
