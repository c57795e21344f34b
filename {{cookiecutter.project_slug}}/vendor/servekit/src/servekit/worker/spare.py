"""How a zygote begins before there is code to load: under `--reload`, for the next save.

It imports the modules of the library that the code before used; none of the application's, nor what
that alone imports. So the application finds what it finds in a fresh process. Where any of it has
changed when it is needed, it becomes one.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from servekit.interpreter import own_flags

if TYPE_CHECKING:
    import socket

CLOCK_NS = 20_000_000
"""By how much the times of files may lag behind."""

QUIET_SECONDS = 1.0
"""How long it waits to begin anew, where files changed while it imported them."""

State = dict[str, tuple[int, ...] | frozenset[str]]


class NotNeeded(Exception):  # noqa: N818 - no error
    """Nobody has code to load any more."""


def import_ahead(boot: dict[str, Any], control: socket.socket) -> dict[str, Any]:
    """Import the modules that a boot message names as `ahead`, and return the one that follows.

    Raises:
        NotNeeded: None follows.
        OSError: This process had to start anew, and could not.
    """
    before = imported_state(boot["ahead"])
    if before is not None and touched_since(before, boot.get("since", 0) - CLOCK_NS):
        # What was imported may be of before. An installer's links look like that too.
        if not select.select([control], [], [], QUIET_SECONDS)[0]:
            start_anew(json.dumps(boot | {"since": time.time_ns()}))
        before = None
    message = read_line(control)
    if before is None or state(before) != before:
        start_anew(message)
    importlib.invalidate_caches()
    return json.loads(message)  # type: ignore[no-any-return]


def start_anew(message: str) -> NoReturn:
    """Become a process that has imported nothing yet, with this boot message."""
    os.environ["SERVEKIT_BOOT"] = message
    os.execv(sys.executable, [sys.executable, *own_flags(), "-m", "servekit.worker.zygote"])  # noqa: S606 - ourselves


def imported_state(modules: list[str]) -> State | None:
    """Import, and return the state of what counts; None where that failed."""
    try:
        for name in modules:
            importlib.import_module(name)
    except BaseException:  # noqa: BLE001 - it is tried again when it counts, and tells its reason then
        return None
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    origins = [getattr(spec, "origin", None) for spec in specs]
    return state([path for path in [*origins, *sys.path] if isinstance(path, str)])


def state(paths: list[str] | State) -> State:
    """Return what changes when a file is written or replaced, and what can be found in a folder."""
    found: State = {}
    for path in paths:
        try:
            about = Path(path).stat()
            # Not the time of its last change: a link made elsewhere, as by uv's cache, sets that.
            found[path] = about.st_mtime_ns, about.st_ino, about.st_size
            if Path(path).is_dir():
                found[path] = frozenset(filter(can_be_imported, os.listdir(path or ".")))  # noqa: PTH208 - names
        except OSError:
            found[path] = ()
    return found


def touched_since(found: State, since: int) -> bool:
    """Whether a file of these was written or put in its place after a time in ns."""
    return any(touched_at(path) > since for path, about in found.items() if type(about) is tuple)


def touched_at(file: str) -> int:
    """Return when a file was written or put in its place, in ns; 0 where there is none."""
    try:
        about = Path(file).stat()
    except OSError:
        return 0
    return max(about.st_mtime_ns, about.st_ctime_ns)


def can_be_imported(name: str) -> bool:
    """Whether a file or folder of this name is a module, or adds a folder of modules."""
    return name.endswith(".pth") or name.partition(".")[0].isidentifier()


def read_line(control: socket.socket) -> str:
    """Return the line that comes over a socket."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            part = control.recv(65536)
        except OSError:
            part = b""
        if not part:
            raise NotNeeded
        line += part
    return line.decode()
