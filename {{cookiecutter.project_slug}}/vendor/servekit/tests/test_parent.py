import os
import subprocess
import sys

from servekit.testing import patience

CHILD = """
import os, sys
from servekit import parent
parent.is_linux = lambda: sys.argv[2] == 'linux'
parent.POLL_SECONDS = 0.01
print("waits", flush=True)
parent.wait_for_other_end(int(sys.argv[1]))
os.write(int(sys.argv[3]), b"gone")
"""
OWNER = """
import os, subprocess, sys
theirs, ours = os.pipe()
child = [sys.executable, "-c", sys.argv[1], str(ours), sys.argv[2], sys.argv[3]]
started = subprocess.Popen(child, pass_fds=[ours, int(sys.argv[3])], stdout=subprocess.PIPE)
started.stdout.readline()
os.kill(os.getpid(), 9)
"""


def says_gone(platform: str) -> bytes:
    """Return what a child writes whose parent was killed."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", OWNER, CHILD, platform, str(writing)]
    subprocess.run(command, pass_fds=[writing], timeout=patience(10), check=False)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()


def test_a_child_notices_that_its_parent_was_killed():
    assert says_gone("linux") == b"gone"


def test_it_does_so_by_its_new_parent_where_poll_tells_nothing():
    assert says_gone("darwin") == b"gone"
