"""Users and their passwords."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from servekit.offload import Threads, ThreadsDep
from servekit.sql import Database, DatabaseDep
from service.accounts.models import User
from service.accounts.passwords import hash_password, unmatched_hash, verify_password
from service.accounts.tables import users

UNMATCHED_HASH = unmatched_hash()


class UsernameTakenError(Exception):
    """Another user has this name."""


class Users:
    """Users in `database`; passwords are hashed in `threads`, off the event loop."""

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


async def get_users(database: DatabaseDep, threads: ThreadsDep) -> Users:
    """Return the users, for `Depends`."""
    return Users(database=database, threads=threads)


UsersDep = Annotated[Users, Depends(get_users)]
