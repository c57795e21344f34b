"""A service that was started at a terminal, as its developer does."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from servekit.testing import patience

TAKING_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "demo"])
"""


@pytest.fixture
def at_terminal(demo, ports):
    """The service, and our end of its terminal, once it serves."""
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"]} | ports
    with subprocess.Popen(
        [sys.executable, "-c", TAKING_TERMINAL],
        cwd=demo,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = b""
        while b"Ctrl-C stops it." not in said:
            said += os.read(ours, 1000)
        yield process, ours
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_terminal_that_is_closed_ends_it(at_terminal):
    process, terminal = at_terminal
    os.close(terminal)
    assert process.wait(patience(15)) == 0


def test_a_hangup_while_the_terminal_is_open_loads_the_code_anew(at_terminal):
    process, terminal = at_terminal
    process.send_signal(signal.SIGHUP)
    said = b""
    while b"reload_done" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
