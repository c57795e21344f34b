import http.server
import re
import socket
import threading

import pytest

from servekit.admin.client import AdminClient, AdminError, NobodyAnswersError, table
from servekit.testing import patience

WORKER = {
    "slot": 0,
    "pid": 77,
    "generation": 1,
    "state": "ready",
    "uptime_seconds": 12.5,
    "rss_bytes": 50 * 2**20,
    "lag_seconds": 0.0123,
    "utilization": 0.25,
    "restarts": {"crash": 2, "hang": 1},
}


def test_the_table_has_a_column_for_everything_and_readable_units():
    head, line = table([WORKER]).splitlines()
    assert len(head) == len(line)
    assert re.split("  +", head)[-4:] == ["lag ms", "busy %", "beat s", "restarts"]
    assert re.split("  +", line)[-4:] == ["12.3", "25.0", "-", "crash:2 hang:1"]
    assert "50.0" in line


def test_another_program_on_the_port_is_said_to_be_one():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.handle_request).start()
    with pytest.raises(AdminError, match="is no admin port"):
        AdminClient("127.0.0.1", server.server_port).workers()
    server.server_close()


def test_what_has_no_end_is_given_as_it_comes():
    more = threading.Event()

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"first")
            more.wait(patience(5))

    server = http.server.HTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.handle_request).start()
    pieces = AdminClient("127.0.0.1", server.server_port).read("/live", seconds=patience(5))
    assert next(pieces) == b"first"
    more.set()
    assert list(pieces) == []
    server.server_close()


def test_nobody_is_there_where_a_connection_is_refused_and_not_where_no_answer_comes(tmp_path):
    def gone(host: str, port: int) -> bool:
        with pytest.raises(NobodyAnswersError) as raised:
            AdminClient(host, port).workers()
        return raised.value.gone

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        def hang_up() -> None:
            silent.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert not gone("127.0.0.1", port)
    assert gone("127.0.0.1", port)
    assert gone(f"unix:{tmp_path}/no.sock", 0)
