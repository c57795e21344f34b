import os

import pytest

from servekit.cpus import usable_cpus

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("own", "file", "text", "expected"),
    [
        ("0::/pod/app", "pod/app/cpu.max", "max 100000", CPUS),
        ("0::/pod/app", "pod/app/cpu.max", "50000 100000", 1),
        ("0::/pod/app", "pod/cpu.max", "100000 100000", 1),
        ("0::/", "cpu.max", "100000 100000", 1),
        ("0::/", "cpu.max", "nonsense", CPUS),
        ("0::/", "none", "", CPUS),
    ],
)
def test_the_smallest_quota_of_any_cgroup_above_us_counts(tmp_path, own, file, text, expected):
    (tmp_path / "cgroup").write_text(own)
    path = tmp_path / "root" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert usable_cpus(cgroup=tmp_path / "root", own=tmp_path / "cgroup") == expected


def test_version_1_quotas_count_too(tmp_path):
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/docker/x\n3:memory:/docker/x")
    folder = tmp_path / "root" / "cpu"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("100000")
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert usable_cpus(cgroup=tmp_path / "root", own=tmp_path / "cgroup") == 1
