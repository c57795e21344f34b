import time

import httpx2
from running import patience


def test_without_redis_cached_and_anonymous_routes_answer_and_a_login_is_503(
    start_service, valkey, client, login
):
    service = start_service(REDIS_URL=valkey.url)
    with client(service) as http:
        login(http)
        http.get("/products/1").raise_for_status()
        valkey.stop()

        for path in ("/", "/products/1", "/products?page=1", "/livez", "/readyz"):
            assert httpx2.get(service.base_url + path, timeout=patience(5)).status_code == 200, path
        assert http.get("/session").status_code == 503
        answer = http.post("/session", json={"username": "alice", "password": "whatever"})
        assert answer.status_code in {401, 503}

        valkey.start()
        deadline = time.monotonic() + patience(20)
        while http.get("/session").status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # The store came back empty: the session is gone, and nobody is logged in as someone else.
        assert http.get("/session").status_code == 401
