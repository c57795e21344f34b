"""A service that the doctor starts for itself: on ports of its own, beside the load's CPU."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from servekit.admin.client import AdminClient, AdminError

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
POLL_SECONDS = 0.1
END_SECONDS = 15.0
LOG_LINES = 12
PROGRAM = (
    "import sys; from servekit import main; "
    "application, settings = sys.argv[1:]; del sys.argv[1:]; "
    "sys.exit(main(application, settings=settings))"
)


@dataclass(frozen=True)
class OwnService:
    """Where it answers, and the CPUs that it leaves to the load; none where there is only one."""

    base: str
    client: AdminClient
    load_cpus: frozenset[int]


@contextmanager
def own_service(arguments: Sequence[str], *, token: str, seconds: float) -> Iterator[OwnService]:
    """Start the service and end it; `arguments` are the import strings of `servekit.main`.

    It has the settings of this process, but ports of its own and DEBUG off. It is not given the
    last CPU, if there are several: the load is to take none of its time.

    Raises:
        AdminError: It did not start within `seconds`; the text is the end of its log.
    """
    port, admin_port = free_ports(2)
    cpus = usable()
    load_cpus = frozenset(cpus[-1:] if len(cpus) > 1 else [])
    own = {"HOST": HOST, "PORT": str(port), "ADMIN_HOST": HOST, "ADMIN_PORT": str(admin_port)}
    client = AdminClient(HOST, admin_port, token=token)
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with tempfile.TemporaryFile() as log:
        with on_cpus(set(cpus) - load_cpus):
            process = subprocess.Popen(
                command,
                env={**os.environ, **own, "DEBUG": "false"},
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for who samples it
            )
        try:
            wait_until_ready(process, client, log, seconds)
            yield OwnService(f"http://{HOST}:{port}", client, load_cpus)
        finally:
            end(process)


def wait_until_ready(
    process: subprocess.Popen[bytes], client: AdminClient, log: IO[bytes], seconds: float
) -> None:
    """Return when all workers are ready.

    Raises:
        AdminError: It ended, or takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            rows = client.workers()
        except AdminError:
            rows = []
        if rows and all(row["state"] == "ready" for row in rows):
            return
        time.sleep(POLL_SECONDS)
    log.seek(0)
    said = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    how = f"is not ready after {seconds:g} s" if process.poll() is None else "did not start"
    raise AdminError("\n".join([f"the service {how}:", *said]))


def end(process: subprocess.Popen[bytes]) -> None:
    """Have it drain and end; what does not is killed."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def usable() -> list[int]:
    """Return the CPUs that this process may use; none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def on_cpus(cpus: set[int] | frozenset[int]) -> Iterator[None]:
    """Have processes that are started here keep to these CPUs; any, if none are named."""
    before = usable()
    if not (cpus and before):
        yield
        return
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
