"""Routes that use sessions in ways that an application seldom does."""

import asyncio

from fastapi import APIRouter

from servekit.sessions import SessionDep

router = APIRouter(prefix="/chaos", include_in_schema=False)


@router.post("/login/{user}")
async def log_in(user: int, session: SessionDep) -> None:
    """Log in without a password, which takes long on purpose."""
    await session.login(str(user), username=f"user-{user}")


@router.post("/privilege")
async def gain_privilege(session: SessionDep) -> None:
    """Change what the user may do."""
    await session.rotate(role="admin")


@router.put("/field/{name}")
async def write_field(name: str, session: SessionDep, seconds: float = 0) -> None:
    """Read the session, take some time, and write a field."""
    await asyncio.sleep(seconds)
    session[name] = True


@router.get("/fields")
async def list_fields(session: SessionDep) -> list[str]:
    """Name the fields of the session."""
    return list(session)
