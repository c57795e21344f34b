"""The usual sessions, by Starlette: what they hold stands in a signed cookie."""

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

router = APIRouter()
hidden = APIRouter(prefix="/chaos", include_in_schema=False)


class Credentials(BaseModel):
    """What a login sends."""

    username: str
    password: str


@router.post("/users", status_code=201)
async def create_user(new: Credentials) -> dict[str, str]:
    """Take any user: passwords are not what is compared."""
    return {"username": new.username}


@router.post("/session")
async def log_in(credentials: Credentials, request: Request) -> dict[str, str]:
    """Note who logs in."""
    request.session["username"] = credentials.username
    return {"username": credentials.username}


@router.get("/session")
async def who_is_logged_in(request: Request) -> dict[str, Any]:
    """Say who is logged in."""
    if "username" not in request.session:
        raise HTTPException(401)
    return {"username": request.session["username"]}


@router.delete("/session", status_code=204)
async def log_out(request: Request) -> None:
    """Forget everything."""
    request.session.clear()


@hidden.post("/login/{user}")
async def log_in_without_password(user: int, request: Request) -> None:
    """Note who logs in."""
    request.session["username"] = f"user-{user}"


@hidden.post("/privilege")
async def gain_privilege(request: Request) -> None:
    """Change what the user may do."""
    request.session["role"] = "admin"


@hidden.put("/field/{name}")
async def write_field(name: str, request: Request, seconds: float = 0) -> None:
    """Take some time and write a field."""
    await asyncio.sleep(seconds)
    request.session[name] = True


@hidden.get("/fields")
async def list_fields(request: Request) -> list[str]:
    """Name the fields of the session."""
    return list(request.session)
