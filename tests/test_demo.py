"""The README's first command, in a clone."""

import os
import signal
import subprocess
import sys
import time

import pytest
from render import copy_tracked
from repository import commit_all
from running import answers, clean_environment, patience, reserved_port

pytestmark = pytest.mark.live


def test_make_demo_serves_until_ctrl_c(tmp_path):
    clone = copy_tracked(tmp_path / "perf-template")
    commit_all(clone, "clone")
    port = reserved_port()
    output = tmp_path / "output"
    with output.open("wb") as log:
        demo = subprocess.Popen(
            ["make", "demo", f"VENV={sys.prefix}"],
            cwd=clone,
            env=clean_environment(PORT=port, ADMIN_PORT=reserved_port()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + patience(120)
        while not answers(f"http://127.0.0.1:{port}/readyz"):
            assert demo.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)
        assert answers(f"http://127.0.0.1:{port}/products/1")
    finally:
        # Ctrl-C reaches the whole process group of a terminal, make included.
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGINT)
            demo.wait(patience(40))
    assert not answers(f"http://127.0.0.1:{port}/livez")
