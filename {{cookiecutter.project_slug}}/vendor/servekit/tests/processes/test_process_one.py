"""As process 1 of a container: it gets every signal itself, and every orphan."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.processes.running import Service, children, eventually

NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    )


@pytest.mark.skipif(not can_unshare(), reason="no PID namespace can be made here")
async def test_process_1_reaps_orphans_and_ends_with_0_on_term():
    async with Service(within=[*NAMESPACE, "--kill-child"]) as starting:
        service = await starting.started()
        [process_1] = children(service.process.pid)
        before = children(process_1)
        await service.get("/orphan")
        await eventually(lambda: set(children(process_1)) > set(before))
        await eventually(lambda: children(process_1) == before)
        os.kill(process_1, signal.SIGTERM)
        assert await service.exit_code() == 0
