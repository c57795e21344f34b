"""The usual call of another service: one client, as it comes."""

import os
from typing import Any

import httpx2
from fastapi import APIRouter

router = APIRouter(prefix="/chaos", include_in_schema=False)
client = httpx2.AsyncClient(base_url=os.environ.get("CHAOS_UPSTREAM_URL", "http://127.0.0.1:1"))


@router.get("/upstream/{path}")
async def ask(path: str) -> dict[str, Any]:
    """Return what the upstream tells."""
    answer: dict[str, Any] = (await client.get(f"/{path}")).json()
    return answer
