"""Read products from a CSV file that arrives in pieces."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from service.example.models import Product, RowError

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = tuple(Product.model_fields)
ROW_LIMIT_BYTES = 65_536

StagedRow = dict[str, Any]


class ProductReader:
    """Turn pieces of a CSV file into rows to store and errors, holding one row at a time.

    Feed it pieces cut anywhere, then `finish`. After an error that leaves the place of the next
    row unknown it reads nothing more.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._columns: list[str] = []
        self._rest = b""
        self._lines: list[str] = []
        self._size = 0
        self._quotes = 0
        self._unreadable = False

    def feed(self, piece: bytes) -> Iterator[StagedRow | RowError]:
        """Yield what the lines that `piece` completes hold."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if self._unreadable:
                break
            yield from self._read_line(line + b"\n")
        if self._unreadable:
            self._rest = b""
        elif self._size + len(self._rest) > ROW_LIMIT_BYTES:
            yield self._give_up()

    def finish(self) -> Iterator[StagedRow | RowError]:
        """Yield what a last line without a line feed holds."""
        if not self._unreadable:
            yield from self._read_line(self._rest)
        if self._lines and not self._unreadable:
            yield self._give_up()
        if not self._columns and not self._unreadable:
            yield RowError(row=0, field="", message="the file is empty")

    def _read_line(self, line: bytes) -> Iterator[StagedRow | RowError]:
        self._size += len(line)
        if self._size > ROW_LIMIT_BYTES:
            yield self._give_up()
            return
        # What is not UTF-8 becomes surrogates, which the model refuses by row and field.
        self._lines.append(line.decode(errors="surrogateescape"))
        self._quotes += line.count(b'"')
        if self._quotes % 2:  # inside a quoted field that holds a line feed
            return
        lines, self._lines, self._size, self._quotes = self._lines, [], 0, 0
        yield from self._read_rows(lines)

    def _read_rows(self, lines: list[str]) -> Iterator[StagedRow | RowError]:
        try:
            for values in csv.reader(lines, strict=True):
                if not values:
                    continue
                if self._columns:
                    self.rows += 1
                    yield self._product(values)
                else:
                    yield from self._read_header(values)
        except csv.Error as error:
            self.rows += 1
            yield RowError(row=self.rows, field="", message=str(error))

    def _read_header(self, values: list[str]) -> Iterator[RowError]:
        columns = [values[0].removeprefix("\ufeff"), *values[1:]]
        if sorted(columns) == sorted(COLUMNS):
            self._columns = columns
            return
        self._unreadable = True
        expected = ",".join(COLUMNS)
        yield RowError(row=0, field="header", message=f"the columns must be {expected}")

    def _product(self, values: list[str]) -> StagedRow | RowError:
        if len(values) != len(self._columns):
            message = f"{len(values)} fields instead of {len(self._columns)}"
            return RowError(row=self.rows, field="", message=message)
        fields: StagedRow = dict(zip(self._columns, values, strict=True))
        fields["tags"] = fields["tags"].split(";") if fields["tags"] else []
        try:
            product = Product.model_validate(fields, strict=False)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            return RowError(row=self.rows, field=field, message=first["msg"])
        return {"row": self.rows, **product.__dict__}

    def _give_up(self) -> RowError:
        self._unreadable = True
        message = f"longer than {ROW_LIMIT_BYTES} bytes, or a quote is never closed"
        return RowError(row=self.rows + 1, field="", message=message)
