"""The cache where a service puts it: around the application, or inside of its middleware."""

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.cache.cache import Cache
from servekit.response_cache.layer import ResponseCacheMiddleware
from servekit.response_cache.writes import BoundaryMiddleware
from servekit.sessions.layer import SessionMiddleware
from servekit.sessions.store import SessionStore
from tests.asgi import routes_of


def placed(app: FastAPI, cache: Cache, store: SessionStore, *, outside: bool = False) -> ASGIApp:
    """Return an application with cache and sessions; each call makes a worker of its own.

    `outside` puts the cache around middleware too, as that of a mounted application has it.
    """
    routes = routes_of(app)
    if outside or not app.user_middleware:
        inside = SessionMiddleware(of(app), store=store, secure=False)
        return ResponseCacheMiddleware(inside, cache=cache, routes=routes)
    layer = Middleware(ResponseCacheMiddleware, cache=cache, routes=routes)
    stack = BoundaryMiddleware(of(app, layer), cache=cache, routes=routes)
    return SessionMiddleware(stack, store=store, secure=False)


def of(app: FastAPI, *layers: Middleware) -> ASGIApp:
    """Return what answers an application's requests, with layers inside of its middleware."""
    own = app.user_middleware
    app.user_middleware = [*own, *layers]
    stack = app.build_middleware_stack()
    app.user_middleware = own

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = app
        await stack(scope, receive, send)

    return serve
