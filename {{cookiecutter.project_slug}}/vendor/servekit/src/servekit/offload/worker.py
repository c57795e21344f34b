"""The program of an offload process: `python -m servekit.offload.worker FD`."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from servekit import signals
from servekit.children import end_children
from servekit.descriptors import keep_from_programs
from servekit.offload.errors import OffloadError
from servekit.offload.frames import (
    LENGTH,
    OWN_PATH,
    Call,
    FrameReader,
    Outcome,
    Startup,
    pack,
    unpack,
)
from servekit.parent import wait_for_other_end

RECEIVE_BYTES = 1 << 18
END_SECONDS = 0.5


def main(fd: int) -> None:
    """Run calls from the socket `fd`, one at a time, until its other end is closed."""
    # It carried the parent's sys.path, which is not meant for children.
    if own := os.environ.pop(OWN_PATH, ""):
        os.environ["PYTHONPATH"] = own
    else:
        os.environ.pop("PYTHONPATH", None)
    log = os.dup(1)
    os.dup2(2, 1)  # what a function prints goes to stderr: stdout is the service's log
    # Requests that need this process may still drain. The socket's end ends it.
    signals.ignore(*signals.SENT_TO_A_GROUP)
    signals.default_in_forks()
    signals.release()
    keep_from_programs([fd])
    channel = socket.socket(fileno=fd)
    threading.Thread(target=_exit_when_closed, args=(fd,), daemon=True).start()
    bodies = _bodies(channel)
    startup: Startup = unpack(next(bodies))
    logs = Logs(startup.log, log)
    _start(startup, logs)
    channel.sendall(pack(os.getpid()))
    for body in bodies:
        channel.sendall(_answer(body, logs))


class Logs:
    """The service's log, set up as soon as code is loaded that may write to it.

    Loading what that needs takes three times as long as the rest of a process' start.
    """

    def __init__(self, form: tuple[str, str, int | None] | None, descriptor: int) -> None:
        self._form = form
        self._descriptor = descriptor

    def set_up(self) -> None:
        """Write events and records as the service's workers do."""
        if self._form is None or not {"logging", "structlog"} & sys.modules.keys():
            return
        from servekit.event_log import Stdout
        from servekit.logs import configure_logs

        Stdout.descriptor = self._descriptor
        configure_logs(*self._form)
        self._form = None


def _start(startup: Startup, logs: Logs) -> None:
    with contextlib.suppress(OSError):
        os.nice(startup.nice)
    for module in startup.preload:
        importlib.import_module(module)
    logs.set_up()
    if startup.initializer is not None:
        startup.initializer()


def _bodies(channel: socket.socket) -> Iterator[bytes]:
    reader = FrameReader()
    while data := channel.recv(RECEIVE_BYTES):
        yield from reader.feed(data)


def _answer(body: bytes, logs: Logs) -> bytes:
    try:
        call: Call = unpack(body)
        logs.set_up()
        with _log_context(call.log_context):
            value = call.function(*call.args)
        return pack(Outcome(value, None, "", _rss_bytes()))
    except BaseException as error:  # noqa: BLE001 - it belongs to the caller, not to this process
        return _pack_error(error)


def _pack_error(error: BaseException) -> bytes:
    trace = "".join(traceback.format_exception(error))
    carried: BaseException = OffloadError(f"{type(error).__name__}: {error}")
    if isinstance(error, Exception):  # SystemExit and its like would end the caller's event loop
        try:
            frame = pack(Outcome(None, error, trace, _rss_bytes()))
            unpack(frame[LENGTH.size :])
        except Exception:  # noqa: BLE001, S110 - it does not survive pickling: its text goes instead
            pass
        else:
            return frame
    return pack(Outcome(None, carried, trace, _rss_bytes()))


@contextlib.contextmanager
def _log_context(values: dict[str, Any]) -> Iterator[None]:
    if not values:
        yield
        return
    # Imported with the first request that carries a context: a call without one starts sooner.
    from structlog.contextvars import bound_contextvars

    with bound_contextvars(**values):
        yield


def _rss_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError):
        return 0  # not Linux: no limit on memory then


def _exit_when_closed(fd: int) -> None:
    # A parent that was killed must not leave a long computation behind.
    wait_for_other_end(fd)
    time.sleep(END_SECONDS)  # one that waits for calls ends by itself, with its `atexit`
    end_children()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
