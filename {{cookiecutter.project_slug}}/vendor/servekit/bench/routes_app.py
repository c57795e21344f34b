"""What `bench/routes.py` loads: BENCH_ROUTERS plain routers of ten routes each, or one route at 0.

`create_app` is ours, `plain` is bare FastAPI for `uvicorn --factory`.
"""

import os

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from servekit import Service, Settings

ROUTES_EACH = 10


class Thing(BaseModel):
    """The small JSON that every route answers."""

    id: int
    name: str


async def read_thing(thing_id: int) -> Thing:
    """Answer at once."""
    return Thing(id=thing_id, name="thing")


def last_path(routers: int) -> str:
    """Return a path that the last of all routes answers."""
    return f"/area-{routers - 1}/things-{ROUTES_EACH - 1}/7" if routers else "/things/7"


def add_routes(app: FastAPI, routers: int) -> None:
    """Include the routers, as anybody does it."""
    if not routers:
        app.add_api_route("/things/{thing_id}", read_thing)
    for area in range(routers):
        router = APIRouter(prefix=f"/area-{area}")
        for number in range(ROUTES_EACH):
            router.add_api_route(f"/things-{number}/" + "{thing_id}", read_thing)
        app.include_router(router)


def create_app(settings: Settings) -> FastAPI:
    """Return the application under a whole service."""
    service = Service(settings)
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)
    add_routes(app, int(os.environ["BENCH_ROUTERS"]))
    return app


def plain() -> FastAPI:
    """Return it bare."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    add_routes(app, int(os.environ["BENCH_ROUTERS"]))
    return app
