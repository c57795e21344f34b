"""Messages between a web worker and its offload processes: a length, then a pickle.

Pickle is safe here and nowhere else: both ends are processes of this service, of one code and one
user, and the unnamed socket pair between them was inherited, so nobody else can write to it.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, NamedTuple

LENGTH = struct.Struct("!Q")
OWN_PATH = "SERVEKIT_PYTHONPATH"
"""The variable with the parent's own PYTHONPATH."""


class Call(NamedTuple):
    """A function to run, pickled by reference, and the log context of the request."""

    function: Any
    args: tuple[Any, ...]
    log_context: dict[str, str | int | float | bool]


class Outcome(NamedTuple):
    """What became of a call: `value`, or `error` with the worker's traceback as text."""

    value: Any
    error: BaseException | None
    trace: str
    rss_bytes: int


class Startup(NamedTuple):
    """What a worker does before its first call."""

    preload: tuple[str, ...]
    initializer: Any
    nice: int
    log: tuple[str, str, int | None] | None = None
    """Level, form and worker of the log, where the service has one."""


def pack(message: Any) -> bytes:
    """Encode a message as one frame; whatever pickle refuses is raised as it is."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes | bytearray | memoryview) -> Any:
    """Decode the body of a frame that one of our own processes wrote."""
    return pickle.loads(body)  # noqa: S301 - see the module's docstring


class FrameReader:
    """Cut a stream of bytes into the bodies of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what arrived; return the bodies that are complete by now."""
        self._buffer += data
        bodies: list[bytes] = []
        while len(self._buffer) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                break
            bodies.append(bytes(memoryview(self._buffer)[LENGTH.size : end]))
            del self._buffer[:end]
        return bodies
