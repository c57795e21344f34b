import http.server
import re
import threading

import pytest

from servekit.admin.client import AdminClient, AdminError, table

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
