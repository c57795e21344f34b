import pytest


@pytest.fixture(autouse=True)
def no_blocking_calls():
    """Let these tests block: it is what the monitors are for."""
