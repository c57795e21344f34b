"""Talks to the admin port of a running service: what the command line does for an operator."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 5.0
COLUMNS = {
    "slot": "slot",
    "pid": "pid",
    "generation": "gen",
    "state": "state",
    "uptime_seconds": "up s",
    "requests": "requests",
    "connections": "conns",
    "rss_bytes": "rss MiB",
    "pss_bytes": "pss MiB",
    "heartbeat_age_seconds": "beat s",
    "restarts": "restarts",
}


class AdminError(Exception):
    """The admin port cannot be reached, or it refused."""


class AdminClient:
    """The admin port, by its address."""

    def __init__(self, url: str, *, token: str = "") -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def workers(self) -> list[dict[str, Any]]:
        """Return one row for every worker."""
        rows: list[dict[str, Any]] = self._ask("GET", "/workers")["workers"]
        return rows

    def reload(self) -> None:
        """Have the code loaded anew."""
        self._ask("POST", "/reload")

    def stop(self) -> None:
        """Have the service drain and end."""
        self._ask("POST", "/stop")

    def scale(self, count: int) -> None:
        """Have this many workers."""
        self._ask("POST", "/workers", {"count": count})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the JSON of the answer.

        Raises:
            AdminError: Nobody answered, or refused; the text says which.
        """
        request = urllib.request.Request(  # noqa: S310 - the address comes from the settings
            self._url + path,
            method=method,
            headers=self._headers | {"content-type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        # A proxy of the environment has no business between an operator and this port.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            reason = json.loads(error.read() or b"{}").get("detail", error.reason)
            raise AdminError(f"{self._url}{path} answered {error.code}: {reason}") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise AdminError(f"nothing answers at {self._url}: {reason}") from None


def table(rows: list[dict[str, Any]]) -> str:
    """Return the workers as people read them."""
    cells = [list(COLUMNS.values()), *([_cell(row, name) for name in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def _cell(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if name == "restarts":
        return " ".join(f"{reason}:{count}" for reason, count in (value or {}).items()) or "-"
    if name.endswith("_bytes") and value:
        return f"{value / 2**20:.1f}"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
