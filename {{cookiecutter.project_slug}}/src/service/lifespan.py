"""Open what a worker owns in order, say that it is ready, close it in reverse."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def lifespan(
    resources: Iterable[AbstractAsyncContextManager[Any]], *, ready: Callable[[], None]
) -> Lifespan:
    """Return the lifespan of an application: `resources` entered in order, left in reverse.

    `ready` is called once all are open. What has to be warm before the first request warms when it
    is entered.
    """

    @contextlib.asynccontextmanager
    async def run(_: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for resource in resources:
                await stack.enter_async_context(resource)
            ready()
            yield

    return run
