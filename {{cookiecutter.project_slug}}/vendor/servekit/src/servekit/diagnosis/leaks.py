"""Who holds the memory that grows: asked of a worker once the sampling has shown that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servekit.diagnosis.heap import grow, held, size

if TYPE_CHECKING:
    from servekit.admin.client import AdminClient

SECONDS_MAX = 30.0
SHARE_MIN = 0.15


def holders(client: AdminClient, worker: int, seconds: float) -> list[str]:
    """Return as `name file:line (how much more)` what holds more and more, the most first.

    Behind the place stand the lines of the source that add to it, as far as they are known.

    Nothing if no name holds 20 of a type more: it is garbage, or memory that is no Python object.

    Raises:
        AdminError: The worker was not counted: replaced, or without the memory for it.
    """
    before, after = grow(client, worker, seconds)
    grown = held(after, before)
    total = sum(one.bytes for one in grown)
    seconds, requests = (after[name] - before[name] for name in ("at", "requests"))
    return [
        f"{one.name} {one.shown_place or '(no place)'} (+{size(one.bytes)} of objects in worker "
        f"{worker} in {seconds:.0f} s more{each(one.bytes, requests)}; in it: {one.what})"
        for one in grown
        if one.bytes >= SHARE_MIN * total
    ][:3]


def each(count: int, requests: int) -> str:
    """Return bytes for each request, if there were any."""
    return f", {size(count // requests)} a request" if requests else ""
