"""Put the routes of chaos into an application."""

import os

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Mount

from chaos.routes import edge, pools, sessions, store, upstream, work
from servekit import Service


def install(app: FastAPI) -> None:
    """Add the routes, the upstream that they ask, and a middleware that fails."""
    service: Service = app.state.servekit
    service.add_upstream("chaos", os.environ.get("CHAOS_UPSTREAM_URL", ""))
    for part in (work, edge, pools, sessions, upstream):
        app.include_router(part.router)
    store.install(app, service.cache)
    # Of a mount, not of the application: around the response cache it would be asked for hits too.
    failing = Middleware(edge.FailingMiddleware)
    app.router.routes.append(Mount("/chaos/raise-early", app=FastAPI(), middleware=[failing]))
