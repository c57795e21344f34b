"""Write products as pieces of a CSV file."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from service.example.csv_import import COLUMNS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from sqlalchemy import Row


async def csv_pieces(pages: AsyncIterator[Sequence[Row[Any]]]) -> AsyncIterator[str]:
    """Yield the header, then one piece for each page of products."""
    yield csv_lines([COLUMNS])
    async for page in pages:
        yield csv_lines(
            (row.id, row.name, row.price, ";".join(row.tags), row.description) for row in page
        )


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Return the rows as CSV text."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
