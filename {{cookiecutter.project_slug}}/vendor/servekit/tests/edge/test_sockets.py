import socket

import pytest

from servekit.edge.sockets import listen, url


def test_a_taken_address_is_refused_and_a_dead_unix_socket_is_replaced(tmp_path):
    with listen("127.0.0.1", 0) as taken:
        assert url(taken).startswith("http://127.0.0.1:")
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", taken.getsockname()[1])
    path = f"unix:{tmp_path}/s"
    listen(path, 0).close()  # leaves its file behind, as a killed process does
    with listen(path, 0) as alive:
        assert url(alive) == path
        with pytest.raises(OSError, match="in use"):
            listen(path, 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/s")
