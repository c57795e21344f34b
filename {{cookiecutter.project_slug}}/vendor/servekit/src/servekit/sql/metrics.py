"""What statements took, and how long they waited for a connection."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from greenlet import getcurrent
from prometheus_client import CollectorRegistry, Histogram
from sqlalchemy import event
from sqlalchemy.pool import AsyncAdaptedQueuePool

from servekit.lent import give_back, lend
from servekit.own_code import is_own, line_of, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, ExceptionContext
    from sqlalchemy.engine import ExecutionContext
    from sqlalchemy.pool import ConnectionPoolEntry

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CONNECTION = "database connection"

_of_registries: WeakKeyDictionary[CollectorRegistry, DatabaseMetrics] = WeakKeyDictionary()


class DatabaseMetrics:
    """The histograms that all databases of a service share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.statement = Histogram(
            "database_statement_duration_seconds",
            "Time of a statement, waiting for a connection aside.",
            buckets=SECONDS,
            registry=registry,
        )
        self.wait = Histogram(
            "database_pool_wait_seconds",
            "Time that statements waited for a connection to become free.",
            buckets=SECONDS,
            registry=registry,
        )

    def watch(self, engine: Engine) -> None:
        """Time every statement of an engine, failed ones too, and the waits for its pool."""
        began: WeakKeyDictionary[ExecutionContext, float] = WeakKeyDictionary()

        # By statement, not by connection: a listener may run one within another.
        def begin(_: Connection, *about: Any) -> None:
            began[about[3]] = time.perf_counter()

        def end(_: Connection | None, *about: Any) -> None:
            if (at := began.pop(about[3], None)) is not None:
                self.statement.observe(time.perf_counter() - at)

        def fail(context: ExceptionContext) -> None:
            if context.execution_context is not None:
                end(None, None, None, None, context.execution_context)

        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "after_cursor_execute", end)
        event.listen(engine, "handle_error", fail)
        if isinstance(engine.pool, TimedPool):
            engine.pool.wait = self.wait


class TimedPool(AsyncAdaptedQueuePool):
    """A pool that tells who holds its connections, and for how long others waited for one."""

    wait: Histogram | None = None

    def recreate(self) -> TimedPool:
        """Return the pool that `engine.dispose()` goes on with."""
        pool = cast("TimedPool", super().recreate())
        pool.wait = self.wait
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        entry = self._timed_get()
        notes_of(entry)[CONNECTION] = lend(CONNECTION, taken_at)
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        give_back(notes_of(record).pop(CONNECTION, None))
        super()._do_return_conn(record)

    def _timed_get(self) -> ConnectionPoolEntry:
        if self.wait is None or self.checkedout() < self.size():
            return super()._do_get()
        began = time.perf_counter()
        try:
            return super()._do_get()
        finally:
            self.wait.observe(time.perf_counter() - began)


def notes_of(entry: ConnectionPoolEntry) -> dict[str, Any]:
    """Return what is kept with a place in the pool, whatever becomes of its connection."""
    return cast("dict[str, Any]", entry.record_info)


def taken_at() -> str:
    """Return `function file:line` of the own code that now asks for a connection, or nothing."""
    frame = inspect.currentframe()
    caller = getcurrent()
    while caller is not None:
        while frame is not None:
            code = frame.f_code
            if is_own(code.co_filename):
                return f"{code.co_qualname} {shown(code.co_filename, line_of(frame))}"
            frame = frame.f_back
        # SQLAlchemy's code runs in a greenlet, which the coroutine that awaits it has started.
        caller = caller.parent
        frame = caller.gr_frame if caller is not None else None
    return ""


def metrics_of(registry: CollectorRegistry) -> DatabaseMetrics:
    """Return the metrics in a registry, made with its first database."""
    if registry not in _of_registries:
        _of_registries[registry] = DatabaseMetrics(registry)
    return _of_registries[registry]
