"""504 for a handler that has not begun its answer in time; the handler is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from math import inf
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servekit.event_log import get_logger
from servekit.hang_up import LATE, end_request
from servekit.problems import about, late_cookies, send_problem
from servekit.resilience.deadlines import Deadline, current_deadline
from servekit.routing.early_calls import EarlyDependency
from servekit.routing.template import route_template

log = get_logger()


class DeadlineMiddleware:
    """Give each request `seconds` to begin its answer; 0 leaves that to `deadline` on a route.

    The 504 leaves at the deadline even when the handler ignores its cancellation, or runs in a
    thread that nothing can stop; whatever such a handler says later is dropped.
    """

    def __init__(
        self, app: ASGIApp, *, seconds: float = 30, resolution_seconds: float = 0.025
    ) -> None:
        self.app = app
        self.seconds = seconds
        self.watch = Watch(seconds, resolution_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - an ASGI application is awaited by a task
        request = TimedRequest(self.seconds, task, scope, send)

        def send_in_time(message: Message) -> Awaitable[None]:
            if request.answer is not None:
                return nothing()
            request.at = inf
            watch.running.discard(request)
            return send(message)

        watch = self.watch
        watch.running.add(request)
        if watch.loop is not loop:
            watch.start(loop)
        token = current_deadline.set(request)
        try:
            await self.app(scope, receive, send_in_time)
        except asyncio.CancelledError:
            if request.answer is None or task.cancelling() > 1:
                raise
        finally:
            current_deadline.reset(token)
            watch.running.discard(request)
            request.lift()  # tasks that it started go on with limits of their own
            if request.answer is not None:
                task.uncancel()
                await request.answer
            del request.scope, request.send  # a context that is kept in the scope holds the request


class TimedRequest(Deadline):
    """A request whose answer has not begun."""

    __slots__ = ("answer", "scope", "send", "task")

    def __init__(
        self, seconds: float, task: asyncio.Task[object], scope: Scope, send: Send
    ) -> None:
        # Deadline's own constructor, spelled out: this runs once a request.
        self.began = began = monotonic()
        self.at = began + seconds if seconds else inf
        self.task = task
        self.scope = scope
        self.send = send
        self.answer: asyncio.Task[None] | None = None

    def expire(self, usual_seconds: float) -> None:
        """Cancel the handler and answer in its place."""
        members, limit = about(self.scope), round(self.at - self.began, 3)
        own, route = limit != usual_seconds, route_template(self.scope)
        detail = f"The answer did not begin within {limit:g} seconds."
        headers = late_cookies(self.scope)
        sending = send_problem(self.send, 504, detail=detail, headers=headers, **members)
        self.answer = self.task.get_loop().create_task(sending)
        end_request(self.task, LATE)
        self.lift()  # what tidies up, and tasks that outlive the request, have their own limits
        log.warning(
            "request_deadline_exceeded",
            route=route,
            seconds=round(monotonic() - self.began, 3),
            cause="the answer did not begin in time",
            setting="deadline() of the route" if own else "TIMEOUT_REQUEST_SECONDS",
            status=504,
            limit=limit,
            request_id=members["request_id"],
        )


class Watch:
    """Look at all waiting requests on one timer: an eighth of the cost of a timer for each."""

    def __init__(self, seconds: float, resolution_seconds: float) -> None:
        self.seconds = seconds
        self.resolution_seconds = resolution_seconds
        self.running: set[TimedRequest] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at `running` until it is empty."""
        self.loop = loop
        self.schedule(loop)

    def schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again soon; in an empty context, for the timer belongs to no request."""
        loop.call_later(self.resolution_seconds, self.look, loop, context=Context())

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expire what is late; stop when nothing is waiting."""
        now = monotonic()
        try:
            for request in [request for request in self.running if request.at <= now]:
                self.running.discard(request)
                if not request.task.cancelling():  # else it is ended already, and tidies up
                    request.expire(self.seconds)
        finally:  # whatever fails with one, the others are looked at
            if self.running:
                self.schedule(loop)
            elif self.loop is loop:
                self.loop = None


class RouteDeadline(EarlyDependency):
    """A dependency that sets a request's deadline, before its body is read where that can be."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __call__(self) -> None:
        """Set it, as a dependency that FastAPI calls."""
        self.when_routed()

    def when_routed(self) -> None:
        """Set it as soon as the route is known."""
        own = current_deadline.get()
        if own is not None:
            own.set(self.seconds)


def deadline(seconds: float) -> Callable[[], Awaitable[None]]:
    """Return a dependency that gives one route its own time, counted from the request's start."""
    return RouteDeadline(seconds)


async def nothing() -> None:
    """Drop what a handler says after its deadline."""
