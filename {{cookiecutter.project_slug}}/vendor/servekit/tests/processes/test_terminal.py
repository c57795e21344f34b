"""A service that was started at a terminal, as its developer does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from servekit.testing import patience

TAKING_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-m", "demo"])
"""


@contextlib.contextmanager
def at_terminal(demo, ports, *, hangup="SIG_DFL"):
    """Run the service; yield it, and our end of its terminal, once it serves."""
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "WORKERS": "1"} | ports
    with subprocess.Popen(
        [sys.executable, "-c", TAKING_TERMINAL, hangup],
        cwd=demo,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = b""
        while b"Ctrl-C stops it.\r\n\r\n" not in said:  # all of it: else its writer fails
            said += os.read(ours, 1000)
        yield process, ours
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_terminal_that_is_closed_ends_it(demo, ports):
    with at_terminal(demo, ports) as (process, terminal):
        os.close(terminal)
        assert process.wait(patience(15)) == 0


def test_a_hangup_while_the_terminal_is_open_loads_the_code_anew(demo, ports):
    with at_terminal(demo, ports) as (process, terminal):
        process.send_signal(signal.SIGHUP)
        said = b""
        while b"reload_done" not in said:
            said += os.read(terminal, 1000)
        os.close(terminal)


def test_what_was_started_to_outlive_its_terminal_does(run, demo, ports):
    """As `nohup` starts it, and `trap '' HUP`."""
    with at_terminal(demo, ports, hangup="SIG_IGN") as (process, terminal):
        os.close(terminal)
        deadline = time.monotonic() + patience(20)
        while {row["generation"] for row in json.loads(run("status", "--json").stdout)} != {2}:
            assert time.monotonic() < deadline
        assert process.poll() is None
