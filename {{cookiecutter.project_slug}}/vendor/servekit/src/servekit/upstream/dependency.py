"""An upstream, as routes ask for it by name."""

from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection

from servekit.context import service_of
from servekit.upstream.client import Upstream


def upstream(name: str) -> Callable[[HTTPConnection], Awaitable[Upstream]]:
    """Return a dependency on one upstream: `Annotated[Upstream, Depends(upstream("rates"))]`.

    A name that `service.add_upstream` was never given is a LookupError at the request.
    """

    async def get_upstream(connection: HTTPConnection) -> Upstream:
        known: dict[str, Upstream] = service_of(connection).upstreams
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise LookupError(f"There is no upstream {name!r} (there are: {names}).")
        return known[name]

    return get_upstream
