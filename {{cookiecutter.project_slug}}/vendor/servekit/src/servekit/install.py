"""Puts a service around a FastAPI application: lifespan, error answers, layers, compiled routes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.background import Background
from servekit.cpus import usable_cpus
from servekit.foreign.originals import layers_are_original
from servekit.foreign.versions import fast_ways
from servekit.layers.exception_handlers import problem_handlers, validation_error
from servekit.layers.openapi import documenting
from servekit.reservations import tell_reservations
from servekit.response_cache.routes import refuse_uncacheable
from servekit.routing.routes import Routes, read_routes
from servekit.scope import current_service
from servekit.sessions.layer import READ_SESSION
from servekit.stack import Composition, inside, layers
from servekit.start_checks import refuse_closed_services, refuse_tracebacks, refuse_unmet

if TYPE_CHECKING:
    from servekit.routing.compiled import CompiledRouter

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

LIBRARIES = frozenset({"servekit", "sqlalchemy"})
"""Whose exceptions have handlers of ours."""

FASTAPI_HANDLERS = (http_exception_handler, request_validation_exception_handler)


class Installed(Composition, Protocol):
    """What installing needs of a `Service`: what the layers are made of, and what it opens."""

    parts: list[AbstractAsyncContextManager[Any]]
    parts_are_open: bool
    exception_handlers: dict[type[Exception], Any]


def install(service: Installed, app: FastAPI) -> None:
    """Make an application the service's; what is added to it until it starts is seen.

    FastAPI's own handlers of errors give way to problem documents now: whoever wants FastAPI's
    answers registers its handlers afterwards.

    Raises:
        RuntimeError: The application has a service already, or has started.
    """
    if hasattr(app.state, "servekit"):
        raise RuntimeError("This application has a Service already: call `install` once.")
    if app.middleware_stack is not None:
        raise RuntimeError("Install the Service before the application starts.")
    app.state.servekit = service
    replace_handlers(app, FASTAPI_HANDLERS, problem_handlers())
    installation = Installation(service, app)
    installation.document()
    app.build_middleware_stack = installation.build  # type: ignore[method-assign]


class Installation:
    """One service around one application, put together when the application starts."""

    def __init__(self, service: Installed, app: FastAPI) -> None:
        self._service = service
        self._app = app
        self._build_inner = app.build_middleware_stack
        self._inner: Inner | None = None
        self._outer: ASGIApp
        self._fast = False
        self._openapi: Callable[[], dict[str, Any]] | None = None
        self._inside: list[Middleware] = []
        self._compiled: CompiledRouter | None = None

    def build(self) -> ASGIApp:
        """Return the application with the service's layers around it, for Starlette to call.

        Called again, as instrumentation does it, it replaces what stands inside our layers.
        """
        first = self._inner is None
        if first:
            self.document()
            self._fast = fast_ways()
            self._app.router.lifespan_context = self._lifespan(self._app.router.lifespan_context)
            ours = problem_handlers(self._service.statuses)
            replace_handlers(self._app, tuple(ours.values()), self._service.exception_handlers)
            replace_handlers(self._app, (), ours)
        inner = without_idle_layers(self._build_inner_stack(), self._app, fast=self._fast)
        if self._inner is not None:
            self._inner.app = inner
            return self._outer
        self._inner = Inner(inner)
        stack: ASGIApp = self._inner
        self._service.routes = self._find_routes()
        self._check_routes()
        for cls, args, options in reversed(layers(self._service, self._app)):
            stack = cls(stack, *args, **options)
        self._outer = Outermost(stack)
        return self._outer

    def document(self) -> None:
        """Keep the OpenAPI document true of our errors, whoever makes it."""
        app = self._app
        if app.openapi is not self._openapi:
            app.openapi = documenting(app, app.openapi, validation_error)  # type: ignore[method-assign]
            self._openapi = app.openapi

    def _build_inner_stack(self) -> ASGIApp:
        """Return the application; some layers stand between its own middleware and its routes."""
        own = self._app.user_middleware
        if self._inner is None:
            self._inside = inside(self._service, self._app)
        self._app.user_middleware = [*own, *self._inside]
        try:
            return self._build_inner()
        finally:
            self._app.user_middleware = own

    def _find_routes(self) -> Callable[[], Routes]:
        """Return what tells the layers the application's routes, compiled where possible."""
        app = self._app
        if self._fast:
            from servekit.routing.compiled import compile_router

            self._compiled = compiled = compile_router(app.router)
            if compiled is not None:
                compiled.compile_anew()  # now, and not in every worker at its first request
                return lambda: compiled.routes
        known: list[Routes] = []

        def read_once() -> Routes:
            if not known:
                known.append(read_routes(app))
            return known[0]

        return read_once

    def _check_routes(self) -> None:
        """Refuse what could not be honoured, before anybody is answered."""
        compiled = self._compiled
        routes = compiled.routes if compiled is not None else read_routes(self._app)
        refuse_uncacheable(routes, never_kept=READ_SESSION)
        refuse_unmet(routes, self._service, self._app)
        if self._service.settings.production:
            refuse_tracebacks(self._app, routes)

    def _lifespan(self, own: Lifespan) -> Lifespan:
        """Open the service's parts before the application's own lifespan, and close them after."""
        service = self._service

        @contextlib.asynccontextmanager
        async def run(app: Any) -> AsyncIterator[Any]:
            async with AsyncExitStack() as stack:
                stack.enter_context(current(service))
                service.parts_are_open = True
                stack.callback(setattr, service, "parts_are_open", False)
                for part in service.parts:
                    await stack.enter_async_context(part)
                state = await stack.enter_async_context(own(app))
                refuse_closed_services(app)
                if self._compiled is not None:
                    self._compiled.compile_anew()
                self._check_routes()
                service.draining.set_ready()
                background = Background()
                stack.push_async_callback(background.cancel)
                workers = service.settings.workers or usable_cpus()
                background.spawn(tell_reservations(service.parts, workers))
                yield state

        return run


class Outermost(ServerErrorMiddleware):
    """What stands around all layers, of the class that instrumentation expects to find there."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override] # one coroutine less
        return self.app(scope, receive, send)


class Inner:
    """What stands inside our layers; it can be replaced."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.app(scope, receive, send)


@contextlib.contextmanager
def current(service: Installed) -> Iterator[None]:
    """Make the service the current one for the body."""
    token = current_service.set(service)
    try:
        yield
    finally:
        # A lifespan may end in another context than it began: then this one has nothing to undo.
        with contextlib.suppress(ValueError):
            current_service.reset(token)


def replace_handlers(app: FastAPI, replaced: Collection[Any], handlers: dict[Any, Any]) -> None:
    """Put handlers of exceptions where there are none, or one of the replaced."""
    ours = {id(one) for one in (*replaced, *handlers.values())}
    own = {key for key, one in app.exception_handlers.items() if id(one) not in ours}
    for error, handler in handlers.items():
        if own.isdisjoint(covered_by(error)):
            app.exception_handlers[error] = handler


def covered_by(error: Any) -> tuple[Any, ...]:
    """Return what an application's own handler may be for, to go before ours of an exception.

    For those that libraries raise that is a base too, but for `Exception`, which all have; what an
    application says of classes of its own is as exact as Starlette takes it.
    """
    if getattr(error, "__module__", "").partition(".")[0] not in LIBRARIES:  # a status has none
        return (error,)
    return tuple(base for base in error.__mro__ if base is not Exception)


def without_idle_layers(stack: Any, app: FastAPI, *, fast: bool) -> ASGIApp:
    """Leave out those of FastAPI's outermost layers that have nothing to do.

    The first would answer errors that nobody handles, as our own layer does.
    """
    idle = type(stack) is ServerErrorMiddleware and stack.handler is None and not stack.debug
    if not idle or not layers_are_original():
        whole: ASGIApp = stack
        return whole
    stack = stack.app
    if fast:
        from servekit.foreign.fastapi import (
            AppBodyLimitMiddleware,
            ExceptionTelemetryMiddleware,
            telemetry_is_off,
        )

        if type(stack) is ExceptionTelemetryMiddleware and telemetry_is_off(app):
            stack = stack.app
            if type(stack) is AppBodyLimitMiddleware and app.max_body_size is None:
                stack = stack.app
        from servekit.routing.innermost import innermost

        stack = innermost(stack)
    inside: ASGIApp = stack
    return inside


def entrance(app: FastAPI) -> ASGIApp:
    """Return what a server calls: everything built now, and FastAPI's own entrance where needed."""
    app.middleware_stack = app.build_middleware_stack()
    if not fast_ways():
        return app
    from servekit.foreign.fastapi import entrances_are_original, telemetry_is_off

    if not telemetry_is_off(app) or not entrances_are_original(app):
        return app

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return app(scope, receive, send)
        if app.root_path:
            scope["root_path"] = app.root_path
        scope["app"] = app
        stack: Any = app.middleware_stack  # a lifespan may have put something around it
        found: Awaitable[None] = stack(scope, receive, send)
        return found

    built = app.middleware_stack
    app.state.servekit.instant.is_in_force = lambda: app.middleware_stack is built
    return serve
