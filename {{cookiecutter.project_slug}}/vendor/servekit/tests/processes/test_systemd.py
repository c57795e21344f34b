"""A service under systemd, by its protocols: what it is told, and the sockets it passes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from servekit.testing import patience
from servekit.testing.guarded import guarded
from servekit.testing.running_service import reserved_port

ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "demo"])
"""


@pytest.fixture
def manager(tmp_path):
    """The socket on which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(patience(20))
        yield manager


def told(manager, start):
    """Return the next message that begins so; those of the watchdog come in between."""
    deadline = time.monotonic() + patience(20)
    while time.monotonic() < deadline:
        message = manager.recv(4096).decode()
        if message.startswith(start):
            return message
    raise AssertionError(f"no {start}")


def test_systemd_is_told_of_start_reload_stop_and_that_the_loop_turns(manager, demo, tmp_path):
    with reserved_port() as port, reserved_port() as admin:
        settings = {"PORT": str(port), "ADMIN_PORT": str(admin), "WORKERS": "1"}
        asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        environment = {"PATH": os.environ["PATH"]} | settings | asked
        command = [sys.executable, "-m", "demo"]
        with guarded(command, cwd=demo, env=environment, stdout=subprocess.DEVNULL) as process:
            told(manager, "READY=1")
            told(manager, "WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in told(manager, "RELOADING=1")
            told(manager, "READY=1")
            process.send_signal(signal.SIGTERM)
            told(manager, "STOPPING=1")
            assert process.wait(patience(15)) == 0


def test_a_passed_socket_is_served_and_outlives_the_service(demo):
    with socket.create_server(("127.0.0.1", 0)) as listener, reserved_port() as admin:
        port = listener.getsockname()[1]
        settings = {"ADMIN_PORT": str(admin), "WORKERS": "1"}
        with guarded(
            [sys.executable, "-c", ACTIVATE, str(listener.fileno())],
            cwd=demo,
            env={"PATH": os.environ["PATH"]} | settings,
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        ) as process:
            assert process.stdout is not None
            with process.stdout:
                events = (json.loads(line) for line in process.stdout)
                started = next(event for event in events if event["event"] == "service_started")
                assert started["url"].endswith(f":{port}")
                assert asked(port).startswith(b"HTTP/1.1 200 ")
                process.send_signal(signal.SIGTERM)
                assert process.wait(patience(15)) == 0
        with socket.create_connection(("127.0.0.1", port), timeout=patience(5)):
            pass  # nobody serves it now, and nobody was refused


def asked(port):
    with socket.create_connection(("127.0.0.1", port), timeout=patience(5)) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return client.recv(65_536)


def test_several_addresses_are_served(demo, tmp_path):
    with reserved_port() as port, reserved_port() as admin:
        settings = {"PORT": str(port), "ADMIN_PORT": str(admin), "WORKERS": "1"}
        host = {"HOST": f"127.0.0.1,unix:{tmp_path}/public"}
        with guarded(
            [sys.executable, "-m", "demo"],
            cwd=demo,
            env={"PATH": os.environ["PATH"]} | settings | host,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            with process.stdout:
                events = (json.loads(line) for line in process.stdout)
                assert any(event["event"] == "service_started" for event in events)
                assert asked(port).startswith(b"HTTP/1.1 200 ")
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"{tmp_path}/public")
                    client.sendall(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
                    assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
                process.send_signal(signal.SIGTERM)
                assert process.wait(patience(15)) == 0
