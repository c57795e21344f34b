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


def statements(
    app: FastAPI, service: Service, *, count: int, seconds: float, connections: int = 10
) -> None:
    """Answer after some statements that take some time each."""
    url = os.environ["DATABASE"]
    database = service.add(Database(url, connections=connections, wait_seconds=20))

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


ONE = {"WORKERS": 1}
database_pool = fault("database_pool", before=postgresql, rate=28, settings=ONE)(
    partial(statements, count=1, seconds=0.04, connections=1)
)
database_pool_large = twin("database_pool", before=postgresql, rate=28, settings=ONE)(
    partial(statements, count=1, seconds=0.04, connections=10)
)


async def ask_elsewhere() -> None:
    await asyncio.sleep(0.1)


async def ask_within(database: Database) -> None:
    """Hold a connection while something else is awaited."""
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await ask_elsewhere()


@fault("connection_held", before=postgresql, rate=24, settings=ONE, guilty=ask_within)
def held_connections(app: FastAPI, service: Service) -> None:
    """Answer after a quick statement, with the connection held for longer than it takes."""
    database = service.add(Database(os.environ["DATABASE"], connections=2, wait_seconds=20))

    @app.get("/")
    async def index() -> None:
        await ask_within(database)


@twin("connection_held", before=postgresql, rate=24, settings=ONE)
def connections_let_go(app: FastAPI, service: Service) -> None:
    """Answer as late, and hold the connection for no more than the statement takes."""
    database = service.add(Database(os.environ["DATABASE"], connections=2, wait_seconds=20))

    @app.get("/")
    async def index() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        await ask_elsewhere()
