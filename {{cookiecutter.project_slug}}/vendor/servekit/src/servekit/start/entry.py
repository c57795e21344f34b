"""Where a service's process begins: it hears signals before it knows anything else."""

from __future__ import annotations

import signal
import sys

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes, as a shell tells of what these signals ended."""


def main(app: str, *, settings: str, arguments: list[str] | None = None) -> int:
    """Do what the command line says and return the exit code; without a command the service runs.

    Both are import strings, for only those that need it import the application:
    `main("service.app:create_app", settings="service.settings:Settings")`. `app` names a function
    that takes the settings and returns a FastAPI application with a `Service` installed.
    """
    if arguments is None:
        hear_signals(runs=sys.argv[1:2] in ([], ["run"]))
        arguments = sys.argv[1:]
    try:
        from servekit.start.command_line import run_command  # half a second, like the settings

        return run_command(app, settings, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def hear_signals(*, runs: bool) -> None:
    """End at once when told to: a service that `runs` until its supervisor has its own handlers.

    The kernel delivers to PID 1 only what it handles, so `docker stop` would not be heard during
    the imports. HUP and USR1 would end us; there is nothing yet to reload or to show. What is no
    service may have more to say at Ctrl-C, and has not done what it was asked for at TERM.
    """
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else it is to outlive its terminal
        signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if runs else TERMINATED))
    if runs:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    else:
        sys.unraisablehook = lambda _: None  # what Ctrl-C finds half made complains when it goes
