"""At the start the log says whether the connections of all workers fit what their servers allow."""

import pytest
import redis.asyncio
from fastapi import FastAPI
from structlog.testing import capture_logs

from servekit import Service, Settings
from servekit.reservations import Reservation, Reserves, tell_reservations
from servekit.sql import Database
from servekit.testing.lifespan import Lifespan
from tests.redis.patient import patient_clients
from tests.stores.workers import until


class Held(Reserves):
    def __init__(self, found):
        self.found = found

    async def reservation(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture(autouse=True)
def first_worker(monkeypatch):
    monkeypatch.setenv("WORKER_SLOT", "0")


async def told(parts, workers=2):
    with capture_logs() as logs:
        await tell_reservations(parts, workers)
    return [entry for entry in logs if entry["log_level"] != "debug"]


@pytest.mark.parametrize(
    ("connections", "limit", "event", "replicas"),
    [
        (10, 97, "connections_reserved", 4),
        (10, 20, "connections_reserved", 1),
        (10, 19, "connections_exceed_limit", None),
        (1, 1, "connections_exceed_limit", None),
    ],
)
async def test_what_all_workers_may_open_is_held_against_the_limit(
    connections, limit, event, replicas
):
    [line] = await told([Held(Reservation("postgresql", connections, limit, "do less"))])
    assert (line["event"], line.get("replicas_max")) == (event, replicas)
    assert (line["connections"], line["limit"]) == (2 * connections, limit)
    assert ("do less" in line.get("remedy", "")) == (replicas is None)


async def test_one_server_that_does_not_say_keeps_no_other_from_it():
    parts = [Held(OSError("away")), Held(None), object(), Held(Reservation("x", 1, 2, ""))]
    assert [line["server"] for line in await told(parts)] == ["x"]


async def test_only_the_first_worker_tells(monkeypatch):
    monkeypatch.setenv("WORKER_SLOT", "1")
    assert await told([Held(Reservation("x", 1, 2, ""))]) == []


async def test_redis_is_asked_for_its_own_limit(redis_url):
    async with redis.asyncio.from_url(redis_url) as operator, patient_clients(redis_url) as clients:
        await operator.config_set("maxclients", 700)
        found = await clients.reservation()
        await operator.config_set("maxclients", 10_000)
    assert found is not None
    assert (found.server, found.connections, found.limit) == ("redis", 3 * 32 + 2, 700)


async def test_postgresql_is_asked_for_the_smallest_of_its_limits(postgresql_url):
    async with Database(postgresql_url, connections=7) as database:
        found = await database.reservation()
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("ALTER ROLE CURRENT_USER CONNECTION LIMIT 9")
        smaller = await database.reservation()
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("ALTER ROLE CURRENT_USER CONNECTION LIMIT -1")
    assert found is not None
    assert (found.server, found.connections, found.limit) == ("postgresql", 7, 27)
    assert smaller is not None
    assert smaller.limit == 9


async def test_a_service_tells_as_soon_as_it_serves(make_settings):
    app = FastAPI()
    service = Service(make_settings(Settings, workers=3))
    service.install(app)
    with capture_logs() as logs:
        async with Lifespan(app):
            await until(lambda: any(entry["event"] == "connections_reserved" for entry in logs))
    [line] = [entry for entry in logs if entry["event"] == "connections_reserved"]
    assert (line["server"], line["connections"]) == ("redis", 3 * 98)
