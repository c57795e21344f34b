"""What the command line asks of a running service, and how it ended."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from servekit.admin.client import AdminClient, AdminError, table

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.1


class NotReachedError(Exception):
    """What was asked for did not come about; the text says why."""


class Operator:
    """One command each; all but `status` wait until it is done, up to `seconds`, if `wait`."""

    def __init__(self, client: AdminClient, *, wait: bool, seconds: float) -> None:
        self._client = client
        self._wait = wait
        self._seconds = seconds

    def status(self, *, as_json: bool) -> str:
        """Return the workers as a table or as JSON."""
        rows = self._client.workers()
        return json.dumps(rows) if as_json else table(rows)

    def reload(self) -> str:
        """Have the code loaded anew, until every worker runs it."""
        asked = self._client.reload()["asked"]

        def done() -> bool:
            state = self._client.reload_state()
            failure = state["failure"]
            if failure and failure["generation"] >= asked:
                reason = failure["reason"]
                raise NotReachedError(f"{reason}; the old code serves on, and it is tried again")
            return bool(state["current"] >= asked and not state["rolling"])

        return self._until(done, "the new code serves", "not every worker runs the new code")

    def scale(self, count: int) -> str:
        """Have this many workers, until all of them are ready and no other is left."""
        self._client.scale(count)

        def done() -> bool:
            return [row["state"] for row in self._client.workers()] == ["ready"] * count

        return self._until(done, f"ready: {count}", f"{count} workers are not ready")

    def stop(self) -> str:
        """Have the service drain and end, until nothing answers any more."""
        self._client.stop()

        def done() -> bool:
            try:
                self._client.workers()
            except AdminError:
                return True
            return False

        return self._until(done, "stopped", "it has not ended")

    def _until(self, done: Callable[[], bool], success: str, failure: str) -> str:
        """Return `success` when it is done, and nothing if nobody waits."""
        if not self._wait:
            return ""
        deadline = time.monotonic() + self._seconds
        while not done():
            if time.monotonic() > deadline:
                raise NotReachedError(f"{failure} after {self._seconds:g} s")
            time.sleep(POLL_SECONDS)
        return success
