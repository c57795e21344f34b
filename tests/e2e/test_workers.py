import os
import signal
import time

import httpx2


def workers(service) -> dict[int, int]:
    """Return the pid of each slot that is ready."""
    listed = httpx2.get(f"{service.admin_url}/workers").json()["workers"]
    return {worker["slot"]: worker["pid"] for worker in listed if worker["state"] == "ready"}


def test_a_killed_worker_is_replaced_and_the_other_serves_on(start_service):
    service = start_service(WORKERS=2)
    before = workers(service)
    os.kill(before[0], signal.SIGKILL)

    deadline = time.monotonic() + 20
    while (now := workers(service)).keys() != {0, 1} or now[0] == before[0]:
        assert time.monotonic() < deadline
        assert httpx2.get(f"{service.base_url}/livez", timeout=5).status_code == 200
        time.sleep(0.01)
    assert now[1] == before[1]
