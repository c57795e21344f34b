"""Open what a worker owns in order, say when it is ready, close it in reverse."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import structlog

log = structlog.get_logger()

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def lifespan(
    resources: Iterable[AbstractAsyncContextManager[Any]],
    *,
    warm: Callable[[], Awaitable[None]],
    ready: Callable[[], None],
) -> Lifespan:
    """Return the lifespan of an application.

    `resources` are entered in order and left in reverse. Then `warm` runs; whatever it does, the
    worker is `ready` after it: a cold cache is slow, no worker is an outage.
    """

    @contextlib.asynccontextmanager
    async def run(_: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for resource in resources:
                await stack.enter_async_context(resource)
            try:
                await warm()
            except Exception:
                log.exception("warm_up_failed")
            ready()
            yield

    return run
