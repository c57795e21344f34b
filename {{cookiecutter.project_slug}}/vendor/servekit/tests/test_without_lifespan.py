"""A test client that nobody enters: what needs no lifespan works, all else says why it does not."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import MetaData, text
from starlette.testclient import TestClient

from servekit import Service, ServiceDep, SettingsDep, critical, deadline, sheddable
from servekit.cache import CacheDep, cache_response, cached
from servekit.context import NotOpen
from servekit.offload import ProcessesDep, ThreadsDep
from servekit.sessions import SessionDep
from servekit.sql import Database, DatabaseDep
from servekit.throttle import Throttle, attempt
from servekit.upstream import Upstream, upstream
from tests.public_face import MODULES, public_names

CODES = Throttle("codes", attempts=3, seconds=60)
Rates = Annotated[Upstream, Depends(upstream("rates"))]


@cached("price:{number}", ttl_seconds=10)
async def price(number: int) -> int:
    return number


async def plain() -> str:
    return "plain"


async def by_settings(settings: SettingsDep) -> str:
    return settings.log_level


async def by_service(service: ServiceDep) -> str:
    return str(len(service.parts))


def in_thread() -> str:
    return "in a thread"


async def nobody(session: SessionDep) -> str:
    return str(session.user_id)


WORKS = {
    "plain": (plain, []),
    "def": (in_thread, []),
    "settings": (by_settings, []),
    "service": (by_service, []),
    "deadline": (plain, [Depends(deadline(3))]),
    "critical": (critical(plain), []),
    "sheddable": (sheddable(plain), []),
    "session of nobody": (nobody, []),
}


async def call_cached() -> int:
    return await price(1)


async def forget() -> None:
    await price.delete(1)


async def by_cache(cache: CacheDep) -> None:
    await cache.set("a", 1, ttl_seconds=1)


async def log_in(session: SessionDep) -> None:
    await session.login("ada")


async def write_session(session: SessionDep) -> None:
    session["a"] = 1


async def by_threads(threads: ThreadsDep) -> int:
    return await threads.run(int, "1")


async def by_processes(processes: ProcessesDep) -> int:
    return await processes.run(int, "1")


async def by_upstream(rates: Rates) -> str:
    return (await rates.get("/")).text


async def by_database(database: DatabaseDep) -> str:
    async with database.engine.begin() as connection:
        return str(await connection.scalar(text("SELECT 1")))


async def by_throttle() -> None:
    async with attempt(CODES.of("a")):
        pass


NEEDS = {
    "cache_response": (plain, [Depends(cache_response(ttl_seconds=60))]),
    "cached": (call_cached, []),
    "cached, delete": (forget, []),
    "cache": (by_cache, []),
    "login": (log_in, []),
    "session": (write_session, []),
    "threads": (by_threads, []),
    "processes": (by_processes, []),
    "upstream": (by_upstream, []),
    "database": (by_database, []),
    "throttle": (by_throttle, []),
}


@pytest.fixture
def new_app(settings, tmp_path):
    def make():
        app, service = FastAPI(), Service(settings)
        service.install(app)
        service.add_upstream("rates", "http://127.0.0.1:1")
        service.add(Database(f"sqlite:///{tmp_path}/x.db", MetaData()))
        route: Any
        for name, (route, dependencies) in (WORKS | NEEDS).items():
            app.get(f"/{name}", dependencies=dependencies, response_model=None)(route)
        return app

    return make


@pytest.fixture
def app(new_app):
    return new_app()


@pytest.mark.parametrize("name", WORKS)
def test_what_needs_no_part_of_the_service_works(app, name):
    assert TestClient(app).get(f"/{name}").status_code == 200


@pytest.mark.parametrize("name", NEEDS)
def test_what_needs_one_says_that_the_lifespan_does_not_run_and_how_a_test_runs_it(app, name):
    with pytest.raises(NotOpen, match=r"lifespan does not run.*with TestClient\(app\) as client"):
        TestClient(app).get(f"/{name}")


def test_the_cookie_of_a_session_needs_the_store(new_app):
    with TestClient(new_app(), base_url="https://testserver") as client:
        client.get("/login")
        cookies = dict(client.cookies)
    assert cookies
    late = TestClient(new_app(), cookies=cookies)
    with pytest.raises(NotOpen, match="lifespan"):
        late.get("/session of nobody")


def test_every_dependency_is_tried():
    """What the library gains is to be looked at here."""
    public = {
        name for module in MODULES for name, _ in public_names(module) if name.endswith("Dep")
    }

    assert public == {
        *("CacheDep", "DatabaseDep", "ProcessesDep", "ServiceDep", "SessionDep", "SettingsDep"),
        *("ThreadsDep", "UserDep", "UserSessionDep"),  # the last two are made of SessionDep
    }
