"""Writes each call of a worker's hooks to a file; raises in them where told to."""

import os
from pathlib import Path

from servekit.supervisor.program import Program
from tests.processes.programs import echo


def program() -> Program:
    asked = echo.program()
    return Program(
        asgi=asked.asgi,
        draining=asked.draining,
        enter_worker=lambda slot: note(f"enter {slot}"),
        begin_drain=lambda reason: note(f"drain {reason}"),
        leave_worker=lambda: note("leave"),
    )


def note(text: str) -> None:
    with Path(os.environ["HOOKS_FILE"]).open("a") as lines:
        lines.write(f"{os.getpid()} {text}\n")
    if text.split(maxsplit=1)[0] in os.environ.get("HOOKS_RAISE", "").split():
        raise RuntimeError(f"{text} failed")
