import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import redis
from servekit.redis import embedded
from servekit.redis.embedded import EmbeddedServer, EmbeddedServerError
from servekit.testing import patience

OWNER = """
import sys, time
from servekit.redis.embedded import EmbeddedServer
with EmbeddedServer() as server:
    print(server.path, flush=True)
    time.sleep(60)
"""


def gone(path: Path, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        processes = subprocess.run(
            ["pgrep", "-f", str(path)], capture_output=True, check=False
        ).stdout
        if not processes:
            return True
        time.sleep(0.02)
    return False


def test_it_answers_while_entered_and_is_gone_after():
    with EmbeddedServer() as server:
        path = server.path
        with redis.Redis(unix_socket_path=str(path)) as client:
            assert client.ping()

    assert gone(path)
    assert not path.parent.exists()


def test_it_is_gone_after_its_owner_was_killed():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    with owner:
        path = Path(owner.stdout.readline().strip())
        owner.send_signal(signal.SIGKILL)

    assert gone(path)
    assert not path.parent.exists()


@pytest.fixture
def temporary_folder(monkeypatch):
    """Return a function that names the folder of temporary files, as TMPDIR does."""

    def name(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))

    return name


def test_a_long_folder_of_temporary_files_does_not_matter(temporary_folder, tmp_path):
    temporary_folder(tmp_path / ("x" * 60) / ("y" * 60))
    with EmbeddedServer() as server, redis.Redis(unix_socket_path=str(server.path)) as client:
        assert client.ping()


def test_no_folder_that_is_short_enough_is_one_line(temporary_folder, tmp_path, monkeypatch):
    temporary_folder(tmp_path / ("x" * 60) / ("y" * 60))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EmbeddedServerError, match="set TMPDIR to a shorter one"):
        EmbeddedServer().__enter__()


SERVERS = {
    "echo 'cannot load libjemalloc.so.2' >&2; exit 127": "ended: cannot load libjemalloc.so.2",
    "while [ $# -gt 1 ]; do shift; done; echo 'Bad format' > \"$1\"; exit 1": "ended: Bad format",
    "exit 3": "ended: it said nothing",
    "echo 'Still loading'; exec sleep 60": "did not answer within 0.5 s: Still loading",
}


@pytest.mark.parametrize("script", SERVERS)
def test_what_a_server_says_that_does_not_start_is_shown(monkeypatch, tmp_path, script):
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "find_binary", lambda: str(program))
    monkeypatch.setattr(embedded, "START_SECONDS", 0.5 if "sleep" in script else 30)
    began = time.monotonic()
    with pytest.raises(EmbeddedServerError, match=SERVERS[script]) as caught:
        EmbeddedServer().__enter__()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < patience(10)
