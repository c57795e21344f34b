import threading
import time

import httpx2
from running import patience

HISTORY = {"prices": [float(day * 7 % 101) for day in range(2000)]}


def test_cpu_work_in_another_process_does_not_hold_up_other_requests(start_service):
    seconds = patience(30)
    limits = {"TIMEOUT_REQUEST_SECONDS": seconds, "TIMEOUT_OFFLOAD_SECONDS": seconds}
    service = start_service(WORKERS=1, **limits)
    finished: list[tuple[int, float]] = []

    def report() -> None:
        url = f"{service.base_url}/reports/price-trend"
        answer = httpx2.post(url, json=HISTORY, timeout=seconds)
        finished.append((answer.status_code, time.monotonic()))

    job = threading.Thread(target=report)
    answered = []
    with httpx2.Client(base_url=service.base_url, timeout=seconds) as http:
        http.get("/").raise_for_status()
        job.start()
        while job.is_alive():
            began = time.monotonic()
            http.get("/").raise_for_status()
            answered.append(time.monotonic() - began)
    job.join()

    ((status, _),) = finished
    assert status == 200
    # While about a second of CPU work ran, the loop answered again and again.
    assert len(answered) > 20
    assert sorted(answered)[len(answered) // 2] < patience(0.1)
