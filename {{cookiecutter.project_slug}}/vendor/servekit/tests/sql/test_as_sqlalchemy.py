"""What SQLAlchemy stores and creates is stored and created."""

import math

import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, Table, insert, select

from servekit.sql import Database
from servekit.testing import both_databases


def notes_in(metadata: MetaData) -> Table:
    return Table(
        "notes_of_sqlalchemy",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("body", JSON),
        prefixes=["TEMPORARY"],
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({1: "a", None: 1}, {"1": "a", "null": 1}),
        ({"n": 2**70}, {"n": 2**70}),
        (["half \ud800"], ["half \ud800"]),
        ({"n": math.inf}, {"n": math.inf}),
        ("ä", "ä"),
    ],
)
async def test_json_is_sqlalchemys(tmp_path, given, kept):
    metadata = MetaData()
    notes = notes_in(metadata)
    async with (
        Database(f"sqlite:///{tmp_path}/as.db", connections=1) as database,
        database.engine.begin() as connection,
    ):
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(notes).values(id=1, body=given))
        assert await connection.scalar(select(notes.c.body)) == kept


@both_databases
async def test_tables_that_join_the_metadata_later_are_created_too(database_url):
    metadata = MetaData()
    database = Database(database_url, metadata, connections=1)
    notes = notes_in(metadata)
    async with database, database.engine.begin() as connection:
        await connection.execute(insert(notes).values(id=1, body=[]))
