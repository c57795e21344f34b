"""The root: what answers here."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

router = APIRouter()


class About(BaseModel):
    """Name and version, as `pyproject.toml` has them."""

    name: str
    version: str


@router.get("/")
async def about(request: Request) -> About:
    """Say what answers here."""
    return About(name=request.app.title, version=request.app.version)
