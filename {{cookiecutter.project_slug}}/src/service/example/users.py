"""Users and their passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from service.example.models import User
from service.example.passwords import hash_password, unmatched_hash, verify_password
from service.example.tables import users

if TYPE_CHECKING:
    from service.example.database import Database
    from service.runtime.offload.threads import Threads


class UsernameTakenError(Exception):
    """Another user has this name."""


class Users:
    """Users in `database`; passwords are hashed in `threads`, off the event loop."""

    def __init__(self, *, database: Database, threads: Threads) -> None:
        self._database = database
        self._threads = threads
        self._unmatched_hash = unmatched_hash()

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
        hashed = row.password_hash if row else self._unmatched_hash
        matches = await self._threads.run(verify_password, password, hashed)
        return User(id=row.id, username=row.username) if row and matches else None
