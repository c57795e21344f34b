import socket
import subprocess
import sys

import pytest

from servekit.worker.shared_connections import open_sockets, refusal, text


def test_a_connection_counts_once_however_many_descriptors_it_has():
    before = open_sockets()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
        one.dup(),
    ):
        accepted, _ = server.accept()
        with accepted:
            here = f"127.0.0.1:{server.getsockname()[1]}"
            assert refusal(before).count(here) == 1
    assert refusal(before) == ""


def test_what_the_process_was_started_with_is_not_the_applications():
    script = (
        "from servekit.worker.shared_connections import *; b = open_sockets(); print(refusal(b))"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as journal,
    ):
        command = [sys.executable, "-c", script]
        assert subprocess.check_output(command, stdin=journal.fileno(), text=True) == "\n"


def test_name_services_connect_again_after_a_fork_by_themselves(tmp_path):
    before = open_sockets()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "winbindd"))
        server.listen()
        client.connect(server.getsockname())
        assert refusal(before) == ""


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (("10.0.0.1", 5432), "10.0.0.1:5432"),
        (("::1", 6379, 0, 0), "[::1]:6379"),
        ("/run/postgresql/.s.PGSQL.5432", "/run/postgresql/.s.PGSQL.5432"),
        (b"\0dbus", "@dbus"),
        ("", ""),
    ],
)
def test_peers_are_written_as_people_write_them(address, written):
    assert text(address) == written


def test_where_no_folder_tells_of_descriptors_nothing_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr("servekit.worker.shared_connections.DESCRIPTORS", tmp_path / "absent")
    assert open_sockets() == {}
