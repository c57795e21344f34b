"""The versions that the tests ran with: outside them the fast ways are off, and nothing else."""

from __future__ import annotations

import os
import re
from importlib import metadata

from servekit.event_log import get_logger

TESTED = {
    "fastapi": ("0.165", "0.166"),
    "starlette": ("1.10", "1.11"),
    "uvicorn": ("0.54", "0.55"),
    "redis": ("8.1", "8.2"),
}
"""For each library the first version that was tested, and the first that was not."""

SWITCH = "SERVEKIT_FAST_WAYS"

log = get_logger()

told: set[object] = set()


def as_numbers(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers: `1.10.0rc1` is (1, 10, 0)."""
    return tuple(int(part) for part in re.findall(r"(?:^|(?<=\.))\d+", version))


def untested(*names: str) -> dict[str, str]:
    """Return those of the libraries whose installed version is not one of the tested."""
    found = {}
    for name in names:
        version = metadata.version(name)
        first, end = (as_numbers(bound) for bound in TESTED[name])
        if not first <= as_numbers(version) < end:
            found[name] = version
    return found


def fast_ways(*libraries: str) -> bool:
    """Return whether we may reach into these libraries; one line in the log says why not.

    Without any they are FastAPI and Starlette.
    """
    libraries = libraries or ("fastapi", "starlette")
    if os.environ.get(SWITCH, "") == "off":
        tell_once(f"{SWITCH} is off", dict.fromkeys(libraries, "any"))
        return False
    if versions := untested(*libraries):
        tell_once("versions that were not tested", versions)
        return False
    return True


def tell_once(reason: str, versions: dict[str, str]) -> None:
    """Say it in the log, the first time in this process."""
    what = (reason, *versions.items())
    if what not in told:
        told.add(what)
        log.warning("fast_ways_off", reason=reason, libraries=sorted(versions), versions=versions)
