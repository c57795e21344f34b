import time

import httpx2
from running import patience

TWO_SECONDS_OF_WORK = {"prices": [float(day * 7 % 101) for day in range(2000)]}


def test_a_request_past_its_deadline_is_answered_504_and_its_work_is_ended(start_service, metric):
    service = start_service(WORKERS=1, TIMEOUT_REQUEST_SECONDS=0.2)

    begin = time.monotonic()
    answer = httpx2.post(f"{service.base_url}/reports/price-trend", json=TWO_SECONDS_OF_WORK)

    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - begin < patience(1)
    assert sum(metric(service, "http_server_active_requests").values()) == 0
    restarts = metric(service, "offload_worker_restarts_total", pool="processes")
    assert sum(restarts.values()) == 1
