"""The application of a case: `python -m doctor_matrix.program` runs the one that CASE names."""

import os
import sys
from pathlib import Path

from fastapi import FastAPI

import doctor_matrix.ailing  # noqa: F401 - registers the cases
from doctor_matrix.ailing.host import CGROUP
from doctor_matrix.ailing.well import install_well
from doctor_matrix.cases import CASES
from servekit import Service, Settings, main

if CGROUP in os.environ:
    Path(os.environ[CGROUP], "cgroup.procs").write_text(str(os.getpid()))
if os.environ.get("LOOP") == "asyncio":
    sys.modules["uvloop"] = None  # type: ignore[assignment] # as where it is not installed


def create_app(settings: Settings) -> FastAPI:
    """Return the application that ails from what CASE names, or from nothing."""
    service = Service(settings)
    app = FastAPI()
    name = os.environ.get("CASE")
    install = CASES[name].install if name else install_well
    install(app, service)
    service.install(app)
    return app


if __name__ == "__main__":
    sys.exit(main("doctor_matrix.program:create_app", settings="servekit:Settings"))
