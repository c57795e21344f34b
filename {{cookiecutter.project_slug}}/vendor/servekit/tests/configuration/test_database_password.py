"""A password of any characters: percent-encoded in the URL, or as it is in PGPASSWORD."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData, text

from servekit import DatabaseUrl, Settings
from servekit.configuration.environment import load_settings
from servekit.sql import Database
from servekit.start.connections import try_connections

PASSWORD = "#/?@:%41 &='\"\\+é${X}"


class Own(Settings):
    database_url: DatabaseUrl = SecretStr("sqlite:///service.db")


@pytest.fixture
async def place(postgresql_url) -> str:
    """Where the user `guarded` must log in with the password."""
    place: str = parse_qs(urlsplit(postgresql_url).query)["host"][0]
    rules = Path(place) / "data" / "pg_hba.conf"
    rule = "local all guarded scram-sha-256\n"
    if rule not in rules.read_text():
        rules.write_text(rule + rules.read_text())
    admin = await asyncpg.connect(host=place, user="service", database="postgres")
    try:
        await admin.execute("DROP ROLE IF EXISTS guarded")
        written = PASSWORD.replace("'", "''")
        await admin.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{written}'")
        await admin.execute("SELECT pg_reload_conf()")
    finally:
        await admin.close()
    await until_it_asks(place)
    return place


async def until_it_asks(place: str) -> None:
    while True:
        try:
            wrong = await asyncpg.connect(
                host=place, user="guarded", database="postgres", password="wrong"
            )
        except asyncpg.InvalidPasswordError:
            return
        await wrong.close()
        await asyncio.sleep(0.05)


async def user_of(url: str) -> str:
    async with Database(url, MetaData()) as database, database.engine.connect() as connection:
        return str(await connection.scalar(text("SELECT current_user")))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_it_may_stand_in_pgpassword_as_compose_has_it(scheme, place, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert await user_of(f"{scheme}://guarded@/postgres?host={place}") == "guarded"


async def test_it_may_stand_in_the_url_percent_encoded(place):
    url = f"postgresql://guarded:{quote(PASSWORD, safe='')}@/postgres?host={place}"
    assert await user_of(url) == "guarded"


async def test_settings_of_compose_are_in_order_and_reach_the_database(
    place, redis_url, monkeypatch
):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://guarded@/postgres?host={place}")
    settings = load_settings(Own)
    assert await asyncio.to_thread(try_connections, settings) == []
    monkeypatch.setenv("PGPASSWORD", "wrong")
    [line] = await asyncio.to_thread(try_connections, settings)
    assert line.startswith("DATABASE_URL: password authentication failed")
