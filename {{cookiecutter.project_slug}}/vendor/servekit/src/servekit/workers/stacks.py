"""Where everything in this process stands: threads and tasks, as text."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import traceback


def task_stacks() -> str:
    """Return the stack of every thread and of every task of the running loop."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way
        out.write(f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}\n")
    for task in asyncio.all_tasks():
        task.print_stack(file=out)
    return out.getvalue()
