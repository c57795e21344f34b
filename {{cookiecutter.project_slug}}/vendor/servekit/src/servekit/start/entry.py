"""Where a service's process begins: it hears signals before it knows anything else."""

from __future__ import annotations

import signal
import sys


def main(app: str, *, settings: str, arguments: list[str] | None = None) -> int:
    """Do what the command line says and return the exit code; without a command the service runs.

    Both are import strings, for only those that need it import the application:
    `main("service.app:create_app", settings="service.settings:Settings")`. `app` names a function
    that takes the settings and returns a FastAPI application with a `Service` installed.
    """
    if arguments is None:
        hear_signals()
    from servekit.start.command_line import run_command  # takes half a second, like the settings

    return run_command(app, settings, sys.argv[1:] if arguments is None else arguments)


def hear_signals() -> None:
    """End at once when told to, until the supervisor has handlers of its own.

    The kernel delivers to PID 1 only what it handles, so `docker stop` would not be heard during
    the imports. HUP and USR1 would end us; there is nothing yet to reload or to show.
    """
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
