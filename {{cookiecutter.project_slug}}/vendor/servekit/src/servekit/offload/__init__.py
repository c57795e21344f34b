"""Work off the event loop: blocking calls in threads, computation in processes, or in slices."""

from servekit.offload.cooperative import cooperatively
from servekit.offload.dependencies import ProcessesDep, ThreadsDep
from servekit.offload.errors import OffloadCrashed, OffloadRejected, OffloadTimeout
from servekit.offload.processes import Processes
from servekit.offload.threads import Threads

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
