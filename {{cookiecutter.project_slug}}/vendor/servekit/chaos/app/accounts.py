"""Users, their passwords and their sessions."""

import hashlib
import hmac
import secrets
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, status
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from chaos.app.models import Credentials, Login, SessionReport
from chaos.app.tables import users
from servekit.offload import ThreadsDep
from servekit.problems import problem_responses
from servekit.sessions import SessionDep, UserSessionDep
from servekit.sql import DatabaseDep

NOT_LOGGED_IN = problem_responses({401: "Nobody is logged in"})

router = APIRouter(tags=["accounts"])


def digest(password: str, salt: str) -> str:
    """Derive a key of a password: a few ms without the GIL, as nothing here is worth a theft."""
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**10, r=8, p=1).hex()


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    responses=problem_responses({409: "Another user has this name"}),
)
async def create_user(new: Credentials, database: DatabaseDep, threads: ThreadsDep) -> Login:
    """Register a user."""
    salt = secrets.token_hex(16)
    hashed = await threads.run(digest, new.password, salt)
    row = insert(users).values(username=new.username, password_hash=f"{salt}${hashed}")
    try:
        async with database.engine.begin() as connection:
            user_id = await connection.scalar(row.returning(users.c.id))
    except IntegrityError:
        raise HTTPException(status.HTTP_409_CONFLICT, "This username is taken.") from None
    return Login(user_id=user_id, username=new.username)


@router.post("/session", responses=problem_responses({401: "Wrong username or password"}))
async def log_in(
    sent: Credentials, database: DatabaseDep, threads: ThreadsDep, session: SessionDep
) -> Login:
    """Log in: the session gets a new id and belongs to the user."""
    async with database.engine.connect() as connection:
        query = select(users).where(users.c.username == sent.username)
        row = (await connection.execute(query)).first()
    salt, _, expected = (row.password_hash if row else "$").partition("$")
    given = await threads.run(digest, sent.password, salt)
    if row is None or not hmac.compare_digest(given, expected):
        wrong = "The username or the password is wrong."
        raise HTTPException(401, wrong, headers={"WWW-Authenticate": "Session"})
    await session.login(str(row.id), username=row.username)
    return Login(user_id=row.id, username=row.username)


@router.get("/session", responses=NOT_LOGGED_IN)
async def who_is_logged_in(session: UserSessionDep) -> Login:
    """Say who is logged in."""
    return Login(user_id=int(session.user), username=session["username"])


@router.delete("/session", status_code=status.HTTP_204_NO_CONTENT)
async def log_out(session: SessionDep) -> None:
    """End this session; without one there is nothing to do."""
    await session.logout()


@router.get("/sessions", responses=NOT_LOGGED_IN)
async def list_sessions(session: UserSessionDep) -> list[SessionReport]:
    """List the user's sessions on all devices, oldest login first."""
    return [
        SessionReport(id=one.ref, created_at=one.created_at, current=one.ref == session.ref)
        for one in await session.list()
    ]


@router.delete("/sessions", status_code=status.HTTP_204_NO_CONTENT, responses=NOT_LOGGED_IN)
async def log_out_everywhere(session: UserSessionDep) -> None:
    """End all sessions of the user, this one too."""
    await session.logout_everywhere()


@router.delete(
    "/sessions/{ref}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses({401: "Nobody is logged in", 404: "No such session of this user"}),
)
async def end_session(ref: Annotated[str, Path(max_length=64)], session: UserSessionDep) -> None:
    """End one of the user's sessions, on a lost device for example."""
    if not await session.revoke(ref):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such session.")
