"""Work off the event loop: blocking calls in threads, computation in processes, or in slices."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servekit.offload.cooperative import cooperatively as cooperatively
    from servekit.offload.dependencies import ProcessesDep as ProcessesDep, ThreadsDep as ThreadsDep
    from servekit.offload.errors import (
        OffloadCrashed as OffloadCrashed,
        OffloadRejected as OffloadRejected,
        OffloadTimeout as OffloadTimeout,
    )
    from servekit.offload.processes import Processes as Processes
    from servekit.offload.threads import Threads as Threads

# Where each name lives: imported when it is asked for, as an offload process needs none of them.
HOMES = {
    "OffloadCrashed": "errors",
    "OffloadRejected": "errors",
    "OffloadTimeout": "errors",
    "Processes": "processes",
    "ProcessesDep": "dependencies",
    "Threads": "threads",
    "ThreadsDep": "dependencies",
    "cooperatively": "cooperative",
}

__all__ = [
    "OffloadCrashed",
    "OffloadRejected",
    "OffloadTimeout",
    "Processes",
    "ProcessesDep",
    "Threads",
    "ThreadsDep",
    "cooperatively",
]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
