"""Load a CSV file into the catalogue, all of it or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, insert, literal, select, true
from sqlalchemy.schema import CreateTable, DropTable

from servekit.offload import cooperatively
from servekit.sql import or_replace
from service.example.csv_import import COLUMNS, ProductReader, StagedRow
from service.example.models import RowError
from service.example.tables import now_ms, products, staged_products

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

    from servekit.sql import Database

BATCH_ROWS = 200
ERRORS_REPORTED = 100


class ImportRejectedError(Exception):
    """The file holds errors: how many, and the first hundred."""

    def __init__(self, errors: list[RowError], count: int) -> None:
        super().__init__(f"{count} errors")
        self.errors = errors
        self.count = count


async def load_csv(database: Database, pieces: AsyncIterator[bytes]) -> int:
    """Create or replace the products that `pieces` hold, and return how many.

    Memory stays constant. Rows are staged beside the catalogue and moved in one statement at the
    end, so that nothing is half-written and other writers wait for that moment only.
    Raises `ImportRejectedError`; the catalogue is then as it was.
    """
    async with database.engine.begin() as connection:
        await connection.execute(DropTable(staged_products, if_exists=True))
        await connection.execute(CreateTable(staged_products))
        reader = ProductReader()
        await stage(connection, outcomes(reader, pieces))
        await refuse_duplicates(connection)
        await connection.execute(move_staged(database))
        await connection.execute(DropTable(staged_products))
    return reader.rows


async def outcomes(
    reader: ProductReader, pieces: AsyncIterator[bytes]
) -> AsyncIterator[StagedRow | RowError]:
    """Read rows without holding up the event loop."""
    async for piece in pieces:
        async for outcome in cooperatively(reader.feed(piece)):
            yield outcome
    for outcome in reader.finish():
        yield outcome


async def stage(connection: AsyncConnection, rows: AsyncIterator[StagedRow | RowError]) -> None:
    """Write rows in batches; after the first error only look for further ones."""
    batch: list[StagedRow] = []
    errors: list[RowError] = []
    count = 0
    async for row in rows:
        if isinstance(row, RowError):
            count += 1
            if count <= ERRORS_REPORTED:
                errors.append(row)
        elif not count:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                await connection.execute(insert(staged_products), batch)
                batch = []
    if count:
        raise ImportRejectedError(errors, count)
    if batch:
        await connection.execute(insert(staged_products), batch)


async def refuse_duplicates(connection: AsyncConnection) -> None:
    """Raise for each row that repeats an earlier id: which of them was meant is unknown."""
    nth = func.row_number().over(partition_by=staged_products.c.id, order_by=staged_products.c.row)
    numbered = select(staged_products.c.row, staged_products.c.id, nth.label("nth")).subquery()
    repeated = select(numbered.c.row, numbered.c.id, func.count().over().label("total"))
    repeated = repeated.where(numbered.c.nth > 1).order_by(numbered.c.row).limit(ERRORS_REPORTED)
    rows = (await connection.execute(repeated)).all()
    if rows:
        errors = [
            RowError(row=row.row, field="id", message=f"{row.id} appears in an earlier row")
            for row in rows
        ]
        raise ImportRejectedError(errors, rows[0].total)


def move_staged(database: Database) -> Executable:
    """Return the statement that moves the staged rows into the catalogue."""
    now = literal(now_ms(), products.c.updated_at.type)
    # SQLite needs a WHERE here, to tell ON CONFLICT from the ON of a join.
    source = select(*(staged_products.c[name] for name in COLUMNS), now).where(true())
    statement = database.upsert(products).from_select([*COLUMNS, "updated_at"], source)
    return or_replace(statement)
