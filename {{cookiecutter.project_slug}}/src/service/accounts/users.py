"""Users and their passwords."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar, TypeVarTuple, cast

from fastapi import Depends, Request
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from servekit.offload import Threads
from servekit.sql import Database
from service.accounts.models import User
from service.accounts.passwords import hash_password, unmatched_hash, verify_password
from service.accounts.tables import users

UNMATCHED_HASH = unmatched_hash()
HASHES_AT_ONCE = 2  # in a worker: each takes 16 MiB and a CPU, and anybody may ask for one

T = TypeVar("T")
Args = TypeVarTuple("Args")


class UsernameTakenError(Exception):
    """Another user has this name."""


class Users:
    """Users in `database`; passwords are hashed in `threads`, off the event loop, few at once."""

    def __init__(self, *, database: Database, threads: Threads) -> None:
        self._database = database
        self._threads = threads
        self._hashes = asyncio.Semaphore(HASHES_AT_ONCE)

    async def create(self, username: str, password: str) -> User:
        """Store a new user; raise `UsernameTakenError`."""
        hashed = await self._in_turn(hash_password, password)
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
        matches = await self._in_turn(verify_password, password, hashed)
        return User(id=row.id, username=row.username) if row and matches else None

    async def _in_turn(self, function: Callable[[*Args], T], *args: *Args) -> T:
        async with self._hashes:
            return await self._threads.run(function, *args)


async def get_users(request: Request) -> Users:
    """Return the users, for `Depends`."""
    return cast("Users", request.app.state.users)


UsersDep = Annotated[Users, Depends(get_users)]
