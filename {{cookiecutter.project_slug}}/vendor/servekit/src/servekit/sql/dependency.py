"""The database of a service, as routes ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from servekit.context import NotOpen, service_of
from servekit.sql.database import Database

if TYPE_CHECKING:
    from servekit.service import Service


async def get_database(connection: HTTPConnection) -> Database:
    """Return the database that was added to the service, for `Depends`."""
    database = find_database(service_of(connection))
    if not database.is_open:
        raise NotOpen("The database")
    return database


def find_database(service: Service) -> Database:
    """Return the first database that was added to a service.

    Raises:
        LookupError: There is none.
    """
    for part in service.parts:
        if isinstance(part, Database):
            return part
    raise LookupError("No Database was added to the service.")


DatabaseDep = Annotated[Database, Depends(get_database)]
"""The first database that was added to the service."""
