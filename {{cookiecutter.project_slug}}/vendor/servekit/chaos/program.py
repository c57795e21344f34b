"""The application under test with routes that misbehave: `python -m chaos.program` starts it.

CHAOS_APP and CHAOS_SETTINGS name another one, by import strings as `servekit.main` takes them.
"""

import importlib
import os
import sys
from pathlib import Path

from fastapi import FastAPI

from servekit import Settings, main

OWN_APP, OWN_SETTINGS = "chaos.app.application:create_app", "chaos.app.settings:Settings"


def create_app(settings: Settings) -> FastAPI:
    """Return the application and the routes of chaos; raises while told to be broken."""
    if (Path(os.environ["CHAOS_FOLDER"]) / "broken").exists():
        raise RuntimeError("broken on purpose")
    # What a supervisor never runs is imported here: it starts in half the time.
    from chaos.routes.install import install

    module, _, name = os.environ.get("CHAOS_APP", OWN_APP).partition(":")
    app: FastAPI = getattr(importlib.import_module(module), name)(settings)
    install(app)
    return app


if __name__ == "__main__":
    settings = os.environ.get("CHAOS_SETTINGS", OWN_SETTINGS)
    sys.exit(main("chaos.program:create_app", settings=settings))
