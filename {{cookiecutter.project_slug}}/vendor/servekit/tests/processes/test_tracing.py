"""With a collector set, the spans of requests reach it."""

import http.server
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 20


@pytest.fixture
def collector():
    """An OTLP collector that only notes the paths posted to it."""
    posted: queue.Queue[str] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            posted.put(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", posted
        server.shutdown()
        thread.join()


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the service with one worker and waits until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    processes = []

    def start(**settings: str) -> str:
        own = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "WORKERS": "1"}
        own |= {"PORT": str(port), "ADMIN_PORT": "0"}
        command = [sys.executable, "-m", "service"]
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=own | settings))
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return f"http://127.0.0.1:{port}"
        raise AssertionError("not ready in time")

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_the_span_of_a_request_reaches_the_collector(start, collector):
    endpoint, posted = collector
    url = start(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100")

    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url}/nowhere", timeout=5)

    assert posted.get(timeout=SECONDS) == "/v1/traces"
