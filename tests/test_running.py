"""Whatever these tests start ends with them, also when they are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import patience

RUN = (
    "import sys; from pathlib import Path; from running import make; make(Path(sys.argv[1]), 'all')"
)
MAKEFILE = "all:\n\t@sleep 600 & echo $$! > pid; wait\n"


def until(condition) -> None:
    deadline = time.monotonic() + patience(10)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_make_started_ends_with_the_tests_that_called_it(tmp_path, number):
    (tmp_path / "Makefile").write_text(MAKEFILE)
    pid = tmp_path / "pid"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], env=environment) as tests:
        until(lambda: pid.exists() and pid.read_text())
        assert lives(int(pid.read_text()))
        tests.send_signal(number)
    until(lambda: not lives(int(pid.read_text())))
