"""A zygote that began before there was code to load loads what a fresh one would."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from servekit.testing import patience
from servekit.worker import spare
from tests.processes.running import receives

PROGRAM = """
import os
from pathlib import Path
from words import WORD

with Path("imports").open("a") as imports:
    imports.write("x")
if Path("broken").exists():
    raise ImportError("broken")

def load(*arguments):
    raise RuntimeError(f"{WORD} {os.getpid()} {arguments}")
"""


@pytest.fixture
def broken():
    return False


@pytest.fixture
def ago():
    """By how many ns the process began after its files were written."""
    return 0


@pytest.fixture
def waiting(tmp_path, broken, ago):
    """Yield the process that waits, having imported its program, and our end of its control."""
    if broken:
        (tmp_path / "broken").touch()
    (tmp_path / "words.py").write_text('WORD = "old"')
    (tmp_path / "program.py").write_text(PROGRAM)
    ours, theirs = socket.socketpair()
    boot = {
        "program": "program:load",
        "parent": os.getpid(),
        "control": theirs.fileno(),
        "counts": theirs.fileno(),
        "listeners": [],
    }
    ahead = boot | {"ahead": ["program"], "since": time.time_ns() + spare.CLOCK_NS + ago}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "servekit.worker.zygote"],
            cwd=tmp_path,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"SERVEKIT_BOOT": json.dumps(ahead)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    ours.settimeout(patience(20))
    with process, ours:
        try:
            until(lambda: receives(process.pid))
            assert process.poll() is None
            yield process, ours, boot
        finally:
            process.kill()


def until(condition):
    deadline = time.monotonic() + patience(20)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reply(connection, **boot):
    """Say what is to be loaded, and return what came of it."""
    connection.sendall(json.dumps(boot).encode() + b"\n")
    with connection.makefile("rb") as replies:
        return json.loads(replies.readline())["reason"]


def test_what_was_imported_ahead_is_loaded_with_what_is_said_now(waiting, tmp_path):
    process, control, boot = waiting
    imports = (tmp_path / "imports").read_text()
    assert reply(control, **boot, arguments=["now"]).startswith(
        f"RuntimeError: old {process.pid} ('now',)"
    )
    assert (tmp_path / "imports").read_text() == imports


def test_a_link_to_a_file_that_is_made_elsewhere_changes_nothing(waiting, tmp_path):
    process, control, boot = waiting
    imports = (tmp_path / "imports").read_text()
    os.link(tmp_path / "words.py", tmp_path / "other-name")  # as another environment's installer
    assert f"old {process.pid} " in reply(control, **boot, arguments=[])
    assert (tmp_path / "imports").read_text() == imports


@pytest.mark.parametrize("ago", [-1_000_000_000])
def test_what_was_written_while_it_imported_is_imported_again_before_anybody_waits(
    waiting, tmp_path
):
    process, control, boot = waiting
    imports = (tmp_path / "imports").read_text()
    assert len(imports) > 1
    assert f"old {process.pid} " in reply(control, **boot, arguments=[])
    assert (tmp_path / "imports").read_text() == imports


CHANGES = {
    "written": lambda folder: (folder / "words.py").write_text('WORD = "newer"'),
    "replaced": lambda folder: replaced(folder / "words.py", 'WORD = "newer"'),
    "gone": lambda folder: (folder / "words.py").unlink(),
    "hidden": lambda folder: (folder / "json.py").write_text('raise ImportError("hidden")'),
    "hidden by a folder": lambda folder: hidden(folder / "structlog"),
}


def replaced(file, text):
    """As an editor or pip does it: another file with the times of the one before."""
    about = file.stat()
    other = file.with_name("other")
    other.write_text(text)
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.rename(file)


def hidden(folder):
    folder.mkdir()
    (folder / "__init__.py").write_text('raise ImportError("hidden")')


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changed_meanwhile_is_found_as_by_a_fresh_process(waiting, tmp_path, change):
    process, control, boot = waiting
    CHANGES[change](tmp_path)
    if change.startswith("hidden"):
        control.sendall(json.dumps(boot | {"arguments": []}).encode() + b"\n")
        assert process.wait(patience(20)) == 1  # it does not get as far as to say so
        assert b"hidden" in process.stderr.read()
        return
    expected = {"gone": "No module named 'words'"}.get(change, f"newer {process.pid} ()")
    assert expected in reply(control, **boot, arguments=[])


@pytest.mark.parametrize("broken", [True])
def test_an_import_that_failed_is_tried_again_when_it_counts(waiting, tmp_path):
    process, control, boot = waiting
    (tmp_path / "broken").unlink()
    reason = reply(control, **boot, arguments=[])
    assert reason.startswith(f"RuntimeError: old {process.pid} ()")
    assert (tmp_path / "imports").read_text() == "xx"


def test_it_ends_quietly_when_nobody_needs_it(waiting):
    process, control, _ = waiting
    control.close()
    assert process.wait(patience(10)) == 0
    assert process.stderr.read() == b""
