"""How many CPUs this process may really use: affinity and cgroup quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cpus(cgroup: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Return the CPUs that affinity and every cgroup quota above us allow; at least one."""
    if hasattr(os, "sched_getaffinity"):
        affinity = len(os.sched_getaffinity(0))
    else:
        affinity = os.cpu_count() or 1
    folders = cgroup_folders(cgroup, own)
    quotas = [quota for folder in folders if (quota := _quota(folder)) is not None]
    return max(1, min([affinity, *(math.ceil(quota) for quota in quotas)]))


def cgroup_folders(
    cgroup: Path = CGROUPS, own: Path = OWN_CGROUPS, *, controller: str = "cpu"
) -> list[Path]:
    """Return the cgroup folders of a controller, v2 and v1, from our own up to the root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroup / controller if controllers else cgroup
        here = root / path.lstrip("/")
        folders += [folder for folder in (here, *here.parents) if folder.is_relative_to(root)]
        if root not in folders:
            folders.append(root)
    return folders


def _quota(folder: Path) -> float | None:
    """Return the CPUs that one cgroup allows, or None without a limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return limit / int((folder / "cpu.cfs_period_us").read_text()) if limit > 0 else None
    except (OSError, ValueError):
        return None
