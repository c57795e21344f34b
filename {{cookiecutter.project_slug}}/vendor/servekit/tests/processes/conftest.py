import pytest
import pytest_asyncio

from tests.processes.running import Service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(request: pytest.FixtureRequest):
    """One service for a module's tests, configured by the module's CONFIG."""
    async with Service(**getattr(request.module, "CONFIG", {})) as starting:
        yield await starting.started()
