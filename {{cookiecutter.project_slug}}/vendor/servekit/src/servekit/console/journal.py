"""What happened to the service, newest last: what its log says of workers, stalls and refusals."""

from __future__ import annotations

import itertools
from collections import deque
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from servekit.logs import listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENTRIES = 200
FACT_CHARACTERS = 200
DETAIL_CHARACTERS = 400

OFTEN = frozenset({"request_deadline_exceeded"})
"""Events that the log has of each request: of these one in ten seconds is noted."""
OFTEN_SECONDS = 10.0

EVENTS = frozenset(
    {
        *("worker_started", "worker_ended", "worker_hung", "worker_start_failed"),
        *("worker_forced", "worker_did_not_stop", "worker_did_not_die", "worker_not_understood"),
        *("scaled", "stop_begins", "reload_begins", "reload_done", "reload_failed"),
        *(
            "zygote_died",
            "worker_replaced",
            "recycle_failed",
            "recycle_postponed",
            "limit_below_fresh_worker",
            "restart_needed",
        ),
        *("log_level_changed", "requests_cancelled"),
        *("event_loop_blocked", "event_loop_unblocked"),
        *("overload_began", "overload_ended", "request_refused", "request_failed"),
        *("host_refused", "cross_site_request_refused", *OFTEN),
        *("redis_breaker_opened", "redis_breaker_closed", "redis_primary_changed"),
        *("upstream_breaker_opened", "upstream_breaker_closed"),
        *("invalidation_channel_down", "database_unavailable"),
    }
)
"""Events of the log that are noted: each is rare, or logged once in some seconds."""

LEFT_OUT = frozenset(
    {
        *("timestamp", "level", "event", "worker", "stack", "stacks", "trace", "task"),
        *("request_id", "ended", "suppressed"),
    }
)
"""Facts that are told apart, too long, or for those who read the log itself."""


class Journal:
    """The last events, each with a number; bounded, whether somebody looks or not."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=ENTRIES)
        self._numbers = itertools.count(1)

    def add(self, entry: dict[str, Any]) -> None:
        """Note an event."""
        self._entries.append({"number": next(self._numbers), **entry})

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the events after that number; 0 is before all."""
        return [entry for entry in self._entries if entry["number"] > number]


def note_events(tell: Callable[[dict[str, Any]], None]) -> None:
    """Tell of every event that this process logs from now on and that belongs in a journal."""
    noted = dict.fromkeys(OFTEN, -OFTEN_SECONDS)

    def look(fields: Mapping[str, Any]) -> None:
        event = fields["event"]
        if not isinstance(event, str) or event not in EVENTS:
            return
        if event in noted:
            now = monotonic()
            if now - noted[event] < OFTEN_SECONDS:
                return
            noted[event] = now
        tell(entry_of(fields))

    listeners.append(look)


def entry_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the log as a journal keeps it: small, in text."""
    at = fields["timestamp"]
    facts = (
        f"{name}={str(value)[:FACT_CHARACTERS]}"
        for name, value in fields.items()
        if name not in LEFT_OUT and value not in ("", None)
    )
    return {
        "at": at.timestamp() if isinstance(at, datetime) else 0.0,
        "level": fields["level"],
        "event": fields["event"],
        "worker": fields.get("worker"),
        "detail": " ".join(facts)[:DETAIL_CHARACTERS],
    }
