import asyncio
import tracemalloc

import pytest
from sqlalchemy import func, select

from servekit.testing import both_databases
from service.example.bulk_load import ERRORS_REPORTED, ImportRejectedError, load_csv, outcomes
from service.example.csv_import import ProductReader
from service.example.tables import as_product, product_columns, products

HEADER = b"id,name,price,tags,description\n"


async def pieces(*parts):
    for part in parts:
        yield part


async def numbered(rows, piece_rows=500):
    yield HEADER
    for start in range(1, rows + 1, piece_rows):
        lines = (
            f"{i},product {i},{i / 100},a;b,text\n"
            for i in range(start, min(start + piece_rows, rows + 1))
        )
        yield "".join(lines).encode()


async def count(database):
    async with database.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(products))


async def read(database, product_id):
    query = select(*product_columns).where(products.c.id == product_id)
    async with database.engine.connect() as connection:
        return as_product((await connection.execute(query)).one())


@both_databases
async def test_rows_are_created_and_replaced(database):
    assert await load_csv(database, pieces(HEADER, b"1,old,1,x;y,\n2,kept,2,,\n")) == 2
    assert await load_csv(database, pieces(HEADER, b"1,new,1.5,z,text\n3,third,3,,\n")) == 2
    assert await count(database) == 3
    replaced = await read(database, 1)
    assert replaced.model_dump() == {
        "id": 1,
        "name": "new",
        "price": 1.5,
        "tags": ["z"],
        "description": "text",
    }
    assert (await read(database, 2)).name == "kept"


@both_databases
async def test_an_error_in_the_last_row_leaves_nothing_written(database):
    async def file():
        async for piece in numbered(1200):
            yield piece
        yield b"1201,bad,free,,\n"

    with pytest.raises(ImportRejectedError) as rejected:
        await load_csv(database, file())
    assert [(error.row, error.field) for error in rejected.value.errors] == [(1201, "price")]
    assert await count(database) == 0


@both_databases
async def test_a_file_that_breaks_off_leaves_nothing_written_and_the_next_import_works(database):
    async def breaks_off():
        async for piece in numbered(1200):
            yield piece
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await load_csv(database, breaks_off())
    assert await count(database) == 0
    assert await load_csv(database, numbered(10)) == 10
    assert await count(database) == 10


@both_databases
async def test_errors_are_all_counted_and_the_first_hundred_reported(database):
    with pytest.raises(ImportRejectedError) as rejected:
        await load_csv(database, pieces(HEADER, b"x,a,1,,\n" * 250))
    assert rejected.value.count == 250
    assert [error.row for error in rejected.value.errors] == list(range(1, ERRORS_REPORTED + 1))


@both_databases
async def test_a_repeated_id_is_an_error_of_the_later_row(database):
    with pytest.raises(ImportRejectedError) as rejected:
        await load_csv(database, pieces(HEADER, b"7,a,1,,\n8,b,1,,\n7,c,1,,\n7,d,1,,\n"))
    assert [(error.row, error.field) for error in rejected.value.errors] == [(3, "id"), (4, "id")]
    assert rejected.value.count == 2
    assert await count(database) == 0


async def test_the_loop_gets_its_turns_while_a_long_piece_is_read():
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    piece = HEADER + b"1,name,1.5,a;b,text\n" * 10_000
    assert len([row async for row in outcomes(ProductReader(), pieces(piece))]) == 10_000
    counting.cancel()
    assert turns > 3


async def test_ten_times_the_rows_need_no_more_memory(database):
    async def peak_bytes(rows):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert await load_csv(database, numbered(rows)) == rows
        return tracemalloc.get_traced_memory()[1] - before

    await load_csv(database, numbered(200))  # fills what is cached once and for all
    tracemalloc.start()
    try:
        small, large = await peak_bytes(200), await peak_bytes(2_000)
    finally:
        tracemalloc.stop()
    assert large < small + 300_000
    assert await count(database) == 2_000
