"""Talks to the admin port of a running service: what the command line does for an operator."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from servekit.edge.sockets import UNIX

TIMEOUT_SECONDS = 5.0
WORKERS_LIMIT = 512
ANYWHERE = ("0.0.0.0", "::")
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
    "lag_seconds": "lag ms",
    "utilization": "busy %",
    "heartbeat_age_seconds": "beat s",
    "restarts": "restarts",
}


UNITS = {"rss_bytes": 2**20, "pss_bytes": 2**20, "lag_seconds": 1e-3, "utilization": 1e-2}


class AdminError(Exception):
    """The admin port cannot be reached, or it refused."""


class NobodyAnswersError(AdminError):
    """No service answers at the address; `gone` says that none is there, and not just no answer."""

    def __init__(self, reason: str, *, gone: bool = False) -> None:
        super().__init__(reason)
        self.gone = gone


class AdminClient:
    """The admin port, by the address that the service listens on."""

    def __init__(self, host: str, port: int, *, token: str = "") -> None:
        self._host = "127.0.0.1" if host in ANYWHERE else host
        self._port = port
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    @property
    def address(self) -> str:
        """The address as people type it."""
        if self._host.startswith(UNIX):
            return self._host
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def workers(self) -> list[dict[str, Any]]:
        """Return one row for every worker."""
        rows: list[dict[str, Any]] = self._ask("GET", "/workers")["workers"]
        return rows

    def ready_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the workers that are ready, if any is."""
        return [row for row in self.workers() if row["state"] == "ready"]

    def ready(self, worker: int | None = None) -> list[dict[str, Any]]:
        """Return the rows of the workers that are ready, or of the one in a slot that is named.

        Raises:
            AdminError: There is none.
        """
        rows = self.ready_rows()
        found = [row for row in rows if worker in {None, row["slot"]}]
        if not found:
            which = "" if worker is None else f" {worker}"
            others = ", ".join(str(row["slot"]) for row in rows)
            others = f"; ready are {others}" if others else ""
            raise AdminError(f"no worker{which} is ready{others}")
        return found

    def metrics(self) -> str:
        """Return the metrics of all workers that answer, as Prometheus reads them."""
        return self._exchange("GET", "/metrics").decode()

    def reload(self) -> dict[str, Any]:
        """Have the code loaded anew; returns the state, in which `asked` is the new generation."""
        state: dict[str, Any] = self._ask("POST", "/reload")
        return state

    def reload_state(self) -> dict[str, Any]:
        """Return which generation of code is current, which was asked for, and what failed."""
        state: dict[str, Any] = self._ask("GET", "/reload")
        return state

    def stop(self) -> None:
        """Have the service drain and end."""
        self._ask("POST", "/stop")

    def scale(self, count: int) -> None:
        """Have this many workers."""
        self._ask("POST", "/workers", {"count": count})

    def debug(
        self, command: str, worker: int, *, seconds: float, options: Mapping[str, object]
    ) -> bytes:
        """Return what a worker answers to a command that takes it this long."""
        query = urlencode({**options, "worker": worker})
        return self._exchange("GET", f"/debug/{command}?{query}", seconds=seconds)

    def follow(self, path: str) -> Iterator[Any]:
        """Yield the lines of JSON of an endless answer as they come; raises `AdminError`."""
        with self._opened(path, TIMEOUT_SECONDS) as response:
            while line := response.readline():
                yield json.loads(line)

    def read(self, path: str, *, seconds: float) -> Iterator[bytes]:
        """Yield what there is at a path as it comes, each piece within so many seconds.

        Raises:
            AdminError: Nobody answers, or the admin port has no such path.
        """
        with self._opened(path, seconds) as response:
            while piece := response.read1():
                yield piece

    @contextlib.contextmanager
    def _opened(self, path: str, seconds: float) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer to read; raises `AdminError`, also while it is read."""
        connection = self._connection(seconds)
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise AdminError(self._refusal(path, response.status, response.read()))
            yield response
        except OSError as error:
            raise self._silence(error) from None
        except (http.client.HTTPException, ValueError):
            raise AdminError(f"what answers at {self.address} is no admin port") from None
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the JSON of the answer; raises `AdminError`."""
        try:
            return json.loads(self._exchange(method, path, body) or b"{}")
        except ValueError:
            raise AdminError(f"what answers at {self.address} is no admin port") from None

    def _exchange(
        self, method: str, path: str, body: object = None, *, seconds: float = 0
    ) -> bytes:
        """Send a request and return the body of the answer.

        Raises:
            AdminError: Nobody answered, or refused; the text says which.
        """
        connection = self._connection(TIMEOUT_SECONDS + seconds)
        try:
            connection.request(method, path, json.dumps(body), self._headers)
            response = connection.getresponse()
            status, answer = response.status, response.read()
        except OSError as error:
            raise self._silence(error) from None
        except http.client.HTTPException:
            raise AdminError(f"what answers at {self.address} is no admin port") from None
        finally:
            connection.close()
        if status >= http.client.BAD_REQUEST:
            raise AdminError(self._refusal(path, status, answer))
        return answer

    def _silence(self, error: OSError) -> NobodyAnswersError:
        """Return that nobody answers, and what may be wrong, in a line."""
        doubt = "is the service running, and are ADMIN_HOST and ADMIN_PORT its own?"
        gone = isinstance(error, (ConnectionRefusedError, FileNotFoundError))
        return NobodyAnswersError(
            f"nothing answers at {self.address}: {error} ({doubt})", gone=gone
        )

    def _refusal(self, path: str, status: int, answer: bytes) -> str:
        """Return what an answer that is none says, in a line."""
        if reason := detail_of(answer):
            return f"{self.address}{path.partition('?')[0]} answered {status}: {reason}"
        return f"what answers at {self.address} is no admin port"

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        if self._host.startswith(UNIX):
            return UnixConnection(self._host.removeprefix(UNIX), seconds)
        return http.client.HTTPConnection(self._host, self._port, timeout=seconds)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def detail_of(answer: bytes) -> str:
    """Return the reason in a problem document, or nothing."""
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


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
    if value is None:
        return "-"
    if name in UNITS:
        return f"{value / UNITS[name]:.1f}"
    return f"{value:g}" if isinstance(value, float) else str(value)
