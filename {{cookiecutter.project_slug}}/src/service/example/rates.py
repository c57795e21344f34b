"""Exchange rates, which another service knows; without it the overview goes without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from httpx2 import HTTPStatusError
from pydantic import TypeAdapter, ValidationError

from servekit.upstream import UpstreamUnavailable

if TYPE_CHECKING:
    from servekit.upstream import Upstream

RATES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, float])

log = structlog.get_logger()


async def read_rates(upstream: Upstream) -> dict[str, float] | None:
    """Return rates by currency, None while RATES_URL is empty or nobody there answers."""
    if not upstream.configured:
        return None
    try:
        response = await upstream.get("/rates")
        response.raise_for_status()  # an error's body may look like rates
        return RATES.validate_json(response.content)
    except (UpstreamUnavailable, HTTPStatusError, ValidationError) as error:
        log.warning("rates_unavailable", error=str(error))
        return None
