"""How much memory a process holds, as the kernel counts it; 0 where it does not tell."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from servekit.cpus import cgroup_folders

CGROUP_FILES = [
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
]
"""Limit, usage, and what of that can be given back; for version 2 and 1."""


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, shared pages counted in full."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def pss_bytes(pid: int) -> int:
    """Return the proportional memory of a process: shared pages divided among their users."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def own_rss_bytes() -> int:
    """Return this process's resident memory, in microseconds: for the loop; 0 if not on Linux."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(os.pread(file, 128, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        os.close(file)


def free_bytes(folders: Iterable[Path] | None = None) -> int | None:
    """Return what memory can still be had within every cgroup's limit; None where nobody tells."""
    folders = cgroup_folders(controller="memory") if folders is None else folders
    free = [left for folder in folders if (left := _left(folder)) is not None]
    with contextlib.suppress(OSError, ValueError, KeyError):
        free.append(_fields(Path("/proc/meminfo"))["MemAvailable:"] * 1024)
    return min(free, default=None)


def _left(folder: Path) -> int | None:
    for limit, usage, unused in CGROUP_FILES:
        with contextlib.suppress(OSError, ValueError):
            used = int((folder / usage).read_text())
            given_back = _fields(folder / "memory.stat").get(unused, 0)
            return int((folder / limit).read_text()) - used + given_back
    return None


def _fields(file: Path) -> dict[str, int]:
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines}
