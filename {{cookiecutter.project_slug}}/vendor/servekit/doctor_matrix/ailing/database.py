"""Databases that are slow, far too few connections to them, and far too many statements."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import text

from doctor_matrix.cases import fault, twin
from doctor_matrix.surroundings import postgresql
from servekit.sql import Database

if TYPE_CHECKING:
    from fastapi import FastAPI

    from servekit import Service


def statements(app: FastAPI, service: Service, *, count: int, seconds: float) -> None:
    """Answer after some statements that take some time each."""
    database = service.add(Database(os.environ["DATABASE"], wait_seconds=20))

    @app.get("/")
    async def index() -> None:
        async with database.engine.connect() as connection:
            for _ in range(count):
                await connection.execute(text(f"SELECT pg_sleep({seconds})"))


database_slow = fault("database_slow", before=postgresql, rate=8)(
    partial(statements, count=1, seconds=0.35)
)
database_quick = twin("database_slow", before=postgresql, rate=8)(
    partial(statements, count=1, seconds=0.005)
)
many_statements = fault("many_statements", before=postgresql, rate=3)(
    partial(statements, count=90, seconds=0.004)
)
few_statements = twin("many_statements", before=postgresql, rate=8)(
    partial(statements, count=4, seconds=0.004)
)


def held_connections(app: FastAPI, service: Service, *, connections: int) -> None:
    """Answer after a quick statement, with the connection held for a while."""
    url = os.environ["DATABASE"]
    database = service.add(Database(url, connections=connections, wait_seconds=20))

    @app.get("/")
    async def index() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(0.1)


database_pool = fault("database_pool", before=postgresql, rate=11, settings={"WORKERS": 1})(
    partial(held_connections, connections=1)
)
database_pool_large = twin("database_pool", before=postgresql, rate=11, settings={"WORKERS": 1})(
    partial(held_connections, connections=10)
)
