"""A process of the pool runs Python as its owner does, and gives on what its owner was given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from servekit.offload.processes import Processes

FLAGGED = """
import asyncio, sys
from prometheus_client import CollectorRegistry
from servekit.offload.processes import Processes
from tests.offload import jobs

async def main():
    async with Processes(registry=CollectorRegistry()) as processes:
        print(await processes.run(jobs.flags))

asyncio.run(main())
"""


@pytest.mark.parametrize("deaf", [[], ["-E"], ["-I"]])
def test_a_process_runs_under_the_flags_of_python_of_its_owner(deaf):
    path = ":".join(filter(None, [str(Path.cwd()), *sys.path]))
    program = f"import sys; sys.path[:] = sys.argv[1].split(':')\n{FLAGGED}"
    flags = ["-O", "-X", "faulthandler", "-W", "ignore::UserWarning", *deaf]
    command = [sys.executable, *flags, "-c", program, path]
    assert subprocess.check_output(command, text=True) == "[1, True, ['ignore::UserWarning']]\n"


@pytest.mark.parametrize("path", ["", "/a/path:/another"])
async def test_a_function_finds_the_pythonpath_that_the_service_was_given(monkeypatch, path):
    monkeypatch.setenv("PYTHONPATH", path)
    async with Processes(registry=CollectorRegistry()) as processes:
        assert await processes.run(os.getenv, "PYTHONPATH", "") == path
