"""The service with routes that misbehave: `python -m chaos.program` starts it."""

import os
import sys
from pathlib import Path

from chaos.pools import in_pools
from chaos.routes import router
from service import __main__ as command
from service import app
from service.runtime.workers.program import Program


def program() -> Program:
    """Return what the service runs, and the routes of chaos; raises while told to be broken."""
    if Path(os.environ["CHAOS_BROKEN_FLAG"]).exists():
        raise RuntimeError("broken on purpose")
    return app.program([router, in_pools])


if __name__ == "__main__":
    sys.exit(command.main(["run"], program="chaos.program:program"))
