"""Functions that the offload tests run elsewhere: another process has to be able to import them.

Quickly, as many a test starts one: what takes long to import is imported where it is used.
"""

import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path


def add(a, b):
    return a + b


def fail(text):
    raise KeyError(text)


def fail_beyond_pickling():
    class LocalError(Exception):
        pass

    raise LocalError("only here")


def leave():
    sys.exit(3)


def pid():
    return os.getpid()


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return os.getpid()


def touch_then_spin(path, seconds):
    Path(path).write_text(str(os.getpid()))
    return spin(seconds)


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.005)


def meet(folder, parties):
    (Path(folder) / str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < parties:
        time.sleep(0.005)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_self():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def shout():
    print("not a frame", flush=True)  # noqa: T201 - what is tested
    sys.stdout.buffer.write(b"\x00" * 64)
    sys.stdout.flush()
    return "heard"


def log_context():
    from structlog.contextvars import get_contextvars

    return get_contextvars()


def unpicklable():
    return threading.Lock()


def niceness():
    return os.nice(0)


def mark():
    os.environ["OFFLOAD_MARK"] = "initialised"


def marked():
    return os.environ.get("OFFLOAD_MARK"), "sqlite3" in sys.modules


def flags():
    return [sys.flags.optimize, sys._xoptions.get("faulthandler"), sys.warnoptions]


def note_exit(path):
    atexit.register(Path(path).write_text, "ended in order")


def fail_later(seconds, text):
    time.sleep(seconds)
    raise KeyError(text)
