"""What the command line asks of a running service, and how it ended."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from servekit.admin.client import AdminClient, AdminError, NobodyAnswersError, table

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.1


class NotReachedError(Exception):
    """What was asked for did not come about; the text says why."""


class Operator:
    """One command each; all but `status` wait until it is done, if `wait`.

    They give up `seconds` after the last worker got ready: workers take turns.
    """

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

        def ready() -> int:
            return sum(row["generation"] >= asked for row in self._client.ready_rows())

        return self._until(done, "the new code serves", "not every worker runs the new code", ready)

    def scale(self, count: int) -> str:
        """Have this many workers, until all of them are ready and no other is left."""
        self._client.scale(count)

        def done() -> bool:
            return [row["state"] for row in self._client.workers()] == ["ready"] * count

        def ready() -> int:
            return len(self._client.ready_rows())

        return self._until(done, f"ready: {count}", f"{count} workers are not ready", ready)

    def stop(self) -> str:
        """Have the service drain and end, until nobody is there any more."""
        self._client.stop()

        def done() -> bool:
            try:
                self._client.workers()
            except NobodyAnswersError as error:
                return error.gone
            except AdminError:
                return False  # it answers badly, but it does
            return False

        return self._until(done, "stopped", "it has not ended")

    def _until(
        self,
        done: Callable[[], bool],
        success: str,
        failure: str,
        progress: Callable[[], int] = int,
    ) -> str:
        """Return `success` when it is done, and nothing if nobody waits.

        The time counts from when `progress` was last greater than ever.
        """
        if not self._wait:
            return ""
        began = time.monotonic()
        deadline, most = began + self._seconds, 0
        while not done():
            if (now := progress()) > most:
                deadline, most = time.monotonic() + self._seconds, now
            if time.monotonic() > deadline:
                raise NotReachedError(f"{failure} after {time.monotonic() - began:.0f} s")
            time.sleep(POLL_SECONDS)
        return success
