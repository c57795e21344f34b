"""What a command does when it is told to end: its own exit code, no traceback, at once."""

import contextlib
import signal
import socket
import subprocess
import sys

import pytest

from servekit.testing import patience

PROGRAM = """
from servekit import main

if __name__ == "__main__":
    raise SystemExit(main("commanded:create_app", settings="servekit:Settings"))
"""
COMMANDS = {
    "status": 130,
    "reload": 130,
    "stop": 130,
    "scale 2": 130,
    "profile --seconds 60": 130,
    "heap --growth 60": 130,
    "top": 0,
    "top --once": 0,
    "doctor --seconds 60": 130,
}
"""With the exit code of Ctrl-C, while the admin port does not answer."""


def ended(tmp_path, command, number):
    """Return a command that was sent a signal while it waited for an answer."""
    (tmp_path / "commanded.py").write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(patience(20))
        with subprocess.Popen(
            [sys.executable, "-m", "commanded", *command.split()],
            cwd=tmp_path,
            env={"ADMIN_PORT": str(silent.getsockname()[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                connection, _ = silent.accept()
                with contextlib.closing(connection):
                    running.send_signal(number)
                    _, errors = running.communicate(timeout=patience(10))
            finally:
                running.kill()
    return running.returncode, errors


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_a_command_at_once_and_without_a_traceback(tmp_path, command):
    code, errors = ended(tmp_path, command, signal.SIGINT)
    assert (code, errors) == (COMMANDS[command], "")


@pytest.mark.parametrize("command", ["status", "doctor --seconds 60"])
def test_a_command_that_was_ended_did_not_succeed(tmp_path, command):
    assert ended(tmp_path, command, signal.SIGTERM) == (143, "")


HALF_MADE = """
import sys
from servekit import main
from servekit.start import command_line


class Answer:
    def __del__(self):
        raise AttributeError("fp")


def run_command(*_):
    answer = Answer()
    raise KeyboardInterrupt


command_line.run_command = run_command
raise SystemExit(main("commanded:create_app", settings="servekit:Settings"))
"""


def test_what_ctrl_c_finds_half_made_says_nothing(tmp_path):
    (tmp_path / "halfway.py").write_text(HALF_MADE)
    done = subprocess.run(
        [sys.executable, "halfway.py", "status"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")
