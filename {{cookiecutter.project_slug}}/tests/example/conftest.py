from collections.abc import AsyncIterator, Iterator

import pytest

from service.example.database import Database
from service.example.tables import metadata
from tests.example import postgresql


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    folder = postgresql.binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    with postgresql.server(folder) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    """An open database of each kind, with empty tables."""
    async with Database(database_url) as database:
        async with database.engine.begin() as connection:
            for table in metadata.sorted_tables:
                await connection.execute(table.delete())
        yield database
