import os
import subprocess
import sys

import pytest
import pytest_asyncio

from servekit.testing import patience
from servekit.testing.running_service import reserved_port
from tests.processes.running import Service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(request: pytest.FixtureRequest):
    """One service for a module's tests, configured by the module's CONFIG."""
    async with Service(**getattr(request.module, "CONFIG", {})) as starting:
        yield await starting.started()


@pytest.fixture
def ports():
    with reserved_port() as one, reserved_port() as two:
        yield {"PORT": str(one), "ADMIN_PORT": str(two)}


@pytest.fixture
def run(demo, ports):
    """Return a function that runs a command of `demo` in a folder, with only these settings."""
    path = {"PATH": os.environ["PATH"]}

    def run(*arguments, **settings):
        return subprocess.run(
            [sys.executable, "-m", "demo", *arguments],
            cwd=demo,
            env=path | ports | settings,
            capture_output=True,
            text=True,
            timeout=patience(15),
            check=False,
        )

    return run
