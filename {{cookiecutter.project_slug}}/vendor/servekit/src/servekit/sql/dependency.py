"""The database of a service, as routes ask for it."""

# Annotations as they are: FastAPI cannot resolve names in those of a callable object.

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from servekit.context import FromService, NotOpen, service_of
from servekit.service import Service
from servekit.sql.database import Database

NONE = "no Database was added to the service: `service.add(Database(url, metadata))`."


class GetDatabase(FromService):
    """Returns the database that was added to the service, for `Depends`."""

    async def __call__(self, connection: HTTPConnection) -> Database:
        """Return it, if it is open."""
        database = find_database(service_of(connection))
        if not database.is_open:
            raise NotOpen("The database")
        return database

    def lacks(self, service: Service) -> str:
        """Return that there is none, and how to add it; nothing if there is."""
        added = any(isinstance(part, Database) for part in service.parts)
        return "" if added else NONE


def find_database(service: Service) -> Database:
    """Return the first database that was added to a service.

    Raises:
        LookupError: There is none.
    """
    for part in service.parts:
        if isinstance(part, Database):
            return part
    raise LookupError(NONE)


DatabaseDep = Annotated[Database, Depends(GetDatabase())]
"""The first database that was added to the service."""
