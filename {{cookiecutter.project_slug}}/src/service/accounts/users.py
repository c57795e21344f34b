"""Users and their passwords."""

from typing import Annotated, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from servekit.offload import Threads
from servekit.sql import Database
from service.accounts.models import User
from service.accounts.passwords import hash_password, unmatched_hash, verify_password
from service.accounts.tables import users

UNMATCHED_HASH = unmatched_hash()
HASHES_AT_ONCE = 2  # in a worker: each takes 16 MiB and a CPU, and anybody may ask for one
HASHES_WAITING = 30  # a few seconds' worth; who comes then is asked to come again


class UsernameTakenError(Exception):
    """Another user has this name."""


def password_threads(registry: CollectorRegistry) -> Threads:
    """Return the few threads that passwords are hashed in, off the event loop.

    Who gives up waiting does not stop his thread: it keeps its place until it ends.
    """
    return Threads(registry=registry, size=HASHES_AT_ONCE, queue=HASHES_WAITING, pool="passwords")


class Users:
    """Users in `database`; passwords are hashed in `threads`."""

    def __init__(self, *, database: Database, threads: Threads) -> None:
        self._database = database
        self._threads = threads

    async def create(self, username: str, password: str) -> User:
        """Store a new user; raise `UsernameTakenError`."""
        hashed = await self._threads.run(hash_password, password)
        statement = insert(users).values(username=username, password_hash=hashed)
        try:
            async with self._database.engine.begin() as connection:
                user_id = await connection.scalar(statement.returning(users.c.id))
        except IntegrityError:
            raise UsernameTakenError from None
        return User(id=user_id, username=username)

    async def authenticate(self, username: str, password: str) -> User | None:
        """Return the user whose password this is.

        An unknown name costs the same time as a wrong password: nobody learns who has an account.
        """
        query = select(users).where(users.c.username == username)
        async with self._database.engine.connect() as connection:
            row = (await connection.execute(query)).first()
        hashed = row.password_hash if row else UNMATCHED_HASH
        matches = await self._threads.run(verify_password, password, hashed)
        return User(id=row.id, username=row.username) if row and matches else None


async def get_users(request: Request) -> Users:
    """Return the users, for `Depends`."""
    return cast("Users", request.app.state.users)


UsersDep = Annotated[Users, Depends(get_users)]
