"""What a worker tells a console of its pools."""

from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from servekit.console.vitals import Vitals
from servekit.sql import Database


class Requests:
    def by_duration(self) -> dict[str, int]:
        return {}

    def failed(self) -> int:
        return 0


class Pressure:
    level = 0.0
    reason = ""


async def test_statements_and_waits_for_a_connection_are_a_pool_like_the_others(tmp_path):
    registry = CollectorRegistry()
    vitals = Vitals(registry, Requests(), Pressure(), dict[str, Any])
    assert vitals.read()["pools"] == {}
    database = Database(f"sqlite:///{tmp_path}/test.db")
    database.register_metrics(registry)
    async with database, database.engine.connect() as connection:
        before = vitals.read()["pools"]["database"]["calls"]
        await connection.execute(text("SELECT 1"))
        pool = vitals.read()["pools"]["database"]
    assert pool["calls"] == before + 1
    assert pool["seconds"] > 0
    assert pool["wait_seconds"] == 0
