"""What a route asks for and nobody added to the service is said when it starts, not when asked."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from sqlalchemy import MetaData

from servekit import Service, Settings
from servekit.install import entrance
from servekit.sql import Database, DatabaseDep
from servekit.start_checks import UnmetDependency
from servekit.upstream import Upstream, upstream

RatesDep = Annotated[Upstream, Depends(upstream("rates"))]


async def price(rates: RatesDep) -> str:
    return type(rates).__name__


def of_upstreams(app: FastAPI) -> None:
    @app.get("/price")
    async def get(found: Annotated[str, Depends(price)]) -> str:
        return found


def of_a_database(app: FastAPI) -> None:
    @app.get("/price")
    async def get(database: DatabaseDep) -> str:
        return type(database).__name__


def below_a_router(app: FastAPI) -> None:
    router = APIRouter(prefix="/v1", dependencies=[Depends(upstream("rates"))])
    router.get("/price")(lambda: "free")
    app.include_router(router)


def in_a_websocket(app: FastAPI) -> None:
    @app.websocket("/price")
    async def talk(websocket: WebSocket, rates: RatesDep) -> None:
        await websocket.close()


def in_a_mounted_application(app: FastAPI) -> None:
    inner = FastAPI()
    of_upstreams(inner)
    app.mount("/inner", inner)


@pytest.fixture
def service_with(make_settings):
    def service_with(add):
        app, service = FastAPI(), Service(make_settings(Settings))
        service.install(app)
        add(app)
        return app, service

    return service_with


@pytest.mark.parametrize(
    ("add", "told"),
    [
        (of_upstreams, "GET /price: there is no upstream 'rates' (there are: other): add it by"),
        (of_a_database, "GET /price: no Database was added to the service: `service.add("),
        (below_a_router, "GET /v1/price: there is no upstream 'rates'"),
        (in_a_websocket, "WebSocket /price: there is no upstream 'rates'"),
        (in_a_mounted_application, "GET /inner/price: there is no upstream 'rates'"),
    ],
)
def test_an_application_whose_routes_lack_something_does_not_start(service_with, add, told):
    app, service = service_with(add)
    service.add_upstream("other", "http://127.0.0.1:9")
    with pytest.raises(UnmetDependency) as caught, TestClient(app):
        pass
    assert str(caught.value).startswith(told)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("add", [of_upstreams, in_a_mounted_application])
def test_what_is_overridden_is_not_missed(service_with, add):
    app, _ = service_with(add)
    path, owner = "/price", app
    if add is in_a_mounted_application:
        path, owner = "/inner/price", app.routes[-1].app
    owner.dependency_overrides[upstream("rates")] = lambda: 7  # two of one name are one
    with TestClient(app) as client:
        assert client.get(path).json() == "int"


def test_a_mounted_application_is_asked_for_what_its_own_service_lacks(service_with):
    inner, own = service_with(of_upstreams)
    outer, _ = service_with(lambda app: app.mount("/inner", inner))
    own.add_upstream("rates", "http://127.0.0.1:9")
    entrance(outer)  # what the outer one lacks is no matter
    inner, _ = service_with(of_upstreams)
    outer, service = service_with(lambda app: app.mount("/inner", inner))
    service.add_upstream("rates", "http://127.0.0.1:9")
    with pytest.raises(UnmetDependency, match="GET /inner/price"):
        entrance(outer)


def test_overrides_hold_in_their_own_application_only(service_with):
    app, _ = service_with(in_a_mounted_application)
    app.dependency_overrides[upstream("rates")] = lambda: 7
    with pytest.raises(UnmetDependency):
        entrance(app)


def test_what_was_added_is_given(service_with, tmp_path):
    def add(app):
        of_upstreams(app)
        app.get("/database")(database_name)

    async def database_name(database: DatabaseDep) -> str:
        return type(database).__name__

    app, service = service_with(add)
    service.add_upstream("rates", "http://127.0.0.1:9")
    service.add(Database(f"sqlite+aiosqlite:///{tmp_path}/d.sqlite", MetaData()))
    with TestClient(app) as client:
        assert client.get("/price").json() == "Upstream"
        assert client.get("/database").json() == "Database"


@pytest.mark.parametrize("register", ["on_worker_start", "on_drain", "on_worker_exit"])
def test_a_hook_that_nobody_would_await_is_refused(settings, register):
    async def hook(*_: object) -> None: ...

    with pytest.raises(TypeError, match=r"hook is a coroutine function, .* write a lifespan"):
        getattr(Service(settings), register)(hook)
