"""What tables need besides tables: types, sequences, circles, comments, listeners."""

import enum

from sqlalchemy import (
    DDL,
    Column,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    Sequence,
    Table,
    event,
    insert,
    inspect,
    text,
)

from servekit.sql import Database
from servekit.testing import both_databases


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def rich() -> MetaData:
    """Tables that need more than tables: a type, a sequence, a circle, a comment, a listener."""
    found = MetaData()
    key = ("id", Integer)
    Table(
        "shelves",
        found,
        Column(*key, Sequence("shelf_numbers"), primary_key=True),
        Column("colour", Enum(Colour), comment="As painted."),
        Column("first", ForeignKey("boxes.id", name="first_box")),
    )
    boxes = Table(
        "boxes",
        found,
        Column(*key, primary_key=True),
        Column("shelf", ForeignKey("shelves.id", use_alter=True, name="its_shelf"), index=True),
    )
    event.listen(boxes, "after_create", DDL("CREATE VIEW all_boxes AS SELECT id FROM boxes"))
    return found


@both_databases
async def test_what_tables_need_besides_is_made_too_and_once(database_url):
    for number in (1, 2):
        tables = rich()
        async with Database(database_url, tables) as database:
            async with database.engine.begin() as connection:
                insertion = insert(tables.tables["shelves"]).values(colour=Colour.RED)
                await connection.execute(insertion)
                assert await connection.scalar(text("SELECT count(*) FROM all_boxes")) == 0
                keys = await connection.run_sync(
                    lambda sync: inspect(sync).get_foreign_keys("boxes")
                )
                count = await connection.scalar(text("SELECT count(*) FROM shelves"))
            assert count == number
        if database.dialect == "postgresql":
            assert [key["name"] for key in keys] == ["its_shelf"]


@both_databases
async def test_an_index_that_is_new_is_made_beside_a_table_with_a_type(database_url):
    kind = Enum(Colour)
    for indexed in (False, True):
        found = MetaData()
        Table("shelves", found, Column("id", Integer), Column("colour", kind, index=indexed))
        async with Database(database_url, found) as database, database.engine.connect() as one:
            names = await one.run_sync(lambda sync: inspect(sync).get_indexes("shelves"))
        assert len(names) == indexed
