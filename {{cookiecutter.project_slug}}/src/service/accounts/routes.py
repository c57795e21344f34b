"""Routes for users and their sessions."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, status

from servekit.problems import problem_responses
from servekit.sessions import SessionDep, UserSessionDep
from servekit.throttle import client_network
from service.accounts.limits import login_attempt, registration_attempt
from service.accounts.models import Credentials, Login, NewUser, SessionReport, User
from service.accounts.users import UsernameTakenError, UsersDep

TOO_MANY = problem_responses({429: "Too many attempts; Retry-After says how long to wait"})
NOT_LOGGED_IN = problem_responses({401: "Nobody is logged in"})

router = APIRouter(tags=["accounts"])


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    responses=problem_responses({409: "Another user has this name"}) | TOO_MANY,
)
async def create_user(new: NewUser, users: UsersDep, request: Request) -> User:
    """Register a user; names differ in more than capitals."""
    try:
        async with registration_attempt(new.username, client_network(request)):
            return await users.create(new.username, new.password)
    except UsernameTakenError:
        raise HTTPException(status.HTTP_409_CONFLICT, "This username is taken.") from None


@router.post(
    "/session", responses=problem_responses({401: "Wrong username or password"}) | TOO_MANY
)
async def log_in(
    credentials: Credentials, users: UsersDep, session: SessionDep, request: Request
) -> Login:
    """Log in: the session gets a new id and belongs to the user."""
    async with login_attempt(credentials.username, client_network(request)) as attempt:
        user = await users.authenticate(credentials.username, credentials.password)
        if user is None:
            raise HTTPException(
                status.HTTP_401_UNAUTHORIZED,
                "The username or the password is wrong.",
                headers={"WWW-Authenticate": "Session"},
            )
        attempt.succeeded()
    await session.login(str(user.id), username=user.username)
    return Login(user_id=user.id, username=user.username)


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
        SessionReport(
            id=info.ref,
            device=info.device,
            created_at=info.created_at,
            last_used_at=info.last_used_at,
            current=info.ref == session.ref,
        )
        for info in await session.list()
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
