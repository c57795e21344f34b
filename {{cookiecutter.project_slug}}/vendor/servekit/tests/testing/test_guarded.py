"""What a test starts ends with it, and also when it is killed."""

import os
import signal
import subprocess
import sys
import time

from servekit.testing import patience
from servekit.testing.guarded import guarded
from tests.processes.running import alive

# Starts a program with a child of its own, says both ids and waits to be killed.
STARTS = """
import subprocess, sys
from servekit.testing.guarded import guarded
command = ["sh", "-c", "sleep 60 & echo $$ $!; wait"]
with guarded(command, stdout=subprocess.PIPE) as process:
    print(process.stdout.readline().decode(), flush=True)
    sys.stdin.read()
"""


def gone(*pids):
    deadline = time.monotonic() + patience(5)
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "outlived its test"
        time.sleep(0.01)
    return True


def test_a_process_and_its_children_end_with_the_context():
    command = ["sh", "-c", "sleep 60 & echo $$ $!; wait"]
    with guarded(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout:
            pids = [int(word) for word in process.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
    assert gone(*pids)


def test_they_end_when_whoever_started_them_is_killed():
    command = [sys.executable, "-c", STARTS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as starter:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        os.kill(starter.pid, signal.SIGKILL)
    assert gone(*pids)
