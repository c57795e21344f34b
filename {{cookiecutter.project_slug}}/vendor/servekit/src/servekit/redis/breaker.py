"""The breaker of a pool: which errors of redis-py are Redis's silence, and which are answers."""

from __future__ import annotations

from types import TracebackType

import structlog

from servekit.breaker import Breaker
from servekit.errors import UNAVAILABLE, StoreUnavailable, WorkerBusy

log = structlog.get_logger()


class RedisBreaker(Breaker):
    """Use it as `with breaker:`; an open one raises StoreUnavailable.

    Cancellation counts neither as an answer nor as a failure.
    """

    def opened(self) -> None:
        log.warning("redis_breaker_opened", pool=self.name)

    def closed(self) -> None:
        log.info("redis_breaker_closed", pool=self.name)

    def __enter__(self) -> None:
        if not self.allow():
            raise StoreUnavailable(f"The breaker of {self.name} is open.")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.succeeded()
        elif isinstance(error, WorkerBusy):
            self.abandoned()
        elif isinstance(error, UNAVAILABLE):
            self.failed()
        elif isinstance(error, Exception):
            self.succeeded()  # Redis answered; it disliked the command.
        else:
            self.abandoned()
