"""How this interpreter was started, and who follows it."""

from __future__ import annotations

import subprocess
import sys


def own_flags() -> list[str]:
    """Return `-X`, `-O`, `-W` and the like, as multiprocessing hands them on."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return flags


def has_debugger() -> bool:
    """Whether a debugger follows this process: its event loop may stand still for long."""
    return sys.gettrace() is not None or "pydevd" in sys.modules
