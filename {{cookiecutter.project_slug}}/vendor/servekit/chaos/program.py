"""The service with routes that misbehave: `python -m chaos.program` starts it."""

import os
import sys
from pathlib import Path

from fastapi import FastAPI
from service import app as composer, launch
from starlette.middleware import Middleware

from chaos import edge_routes, pools, routes, session_routes, store_routes, upstream_routes
from servekit.environment import load_settings
from servekit.service import Parts
from servekit.settings import Settings
from servekit.workers.program import Program

own_layers = composer.layers


def layers(settings: Settings, parts: Parts, app: FastAPI) -> list[Middleware]:
    """Return the service's layers, and one that fails."""
    return [*own_layers(settings, parts, app), Middleware(edge_routes.FailingMiddleware)]


def install(app: FastAPI, parts: Parts) -> None:
    """Add the routes of chaos, and what they use of the service."""
    app.state.upstream, app.state.threads = parts.upstream, parts.threads
    for part in (routes, edge_routes, session_routes, upstream_routes):
        app.include_router(part.router)
    app.include_router(pools.in_pools)
    store_routes.install(app, parts)


def program() -> Program:
    """Return what the service runs, and the routes of chaos; raises while told to be broken."""
    if Path(os.environ["CHAOS_BROKEN_FLAG"]).exists():
        raise RuntimeError("broken on purpose")
    composer.layers = layers
    return composer.program(install)


if __name__ == "__main__":
    sys.exit(launch.run(load_settings(), program="chaos.program:program"))
