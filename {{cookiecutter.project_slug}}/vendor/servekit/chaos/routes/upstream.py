"""A route that asks its upstream, each time."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from servekit.upstream import Upstream, upstream

router = APIRouter(prefix="/chaos", include_in_schema=False)


@router.get("/upstream/{path}")
async def ask(
    path: str, neighbour: Annotated[Upstream, Depends(upstream("chaos"))]
) -> dict[str, Any]:
    """Return what the upstream tells."""
    answer: dict[str, Any] = (await neighbour.get(f"/{path}")).json()
    return answer
