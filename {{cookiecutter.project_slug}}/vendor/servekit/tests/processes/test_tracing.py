"""With a collector set, the spans of requests reach it."""

import http.server
import queue
import threading
import urllib.error
import urllib.request

import pytest

from servekit.testing import patience

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


@pytest.mark.parametrize("where", ["environment", "quoted", ".env"])
def test_the_span_of_a_request_reaches_the_collector(start_service, demo, collector, where):
    endpoint, posted = collector
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    if where == "quoted":  # as `docker --env-file` passes it on
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f'"{endpoint}"'
    if where == ".env":
        (demo / ".env").write_text("".join(f"{name}={text}\n" for name, text in settings.items()))
        settings = {}
    service = start_service("demo", folder=demo, WORKERS=1, ADMIN_PORT=0, **settings)

    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{service.url}/nowhere", timeout=patience(5))
    answer.value.close()

    assert posted.get(timeout=patience(SECONDS)) == "/v1/traces"
    assert service.stop() == 0
