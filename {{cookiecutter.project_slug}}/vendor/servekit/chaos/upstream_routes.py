"""A route of the service that asks its upstream, each time."""

from typing import Any

from fastapi import APIRouter, Request

router = APIRouter(prefix="/chaos", include_in_schema=False)


@router.get("/upstream/{path}")
async def ask(path: str, request: Request) -> dict[str, Any]:
    """Return what the upstream tells."""
    answer: dict[str, Any] = (await request.app.state.upstream.get(f"/{path}")).json()
    return answer
