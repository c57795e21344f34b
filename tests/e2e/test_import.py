import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
from running import patience

ROWS = 200_000
GROWTH_MAX_BYTES = 40 * 2**20


def csv_pieces(bad_row: int = 0) -> Iterator[bytes]:
    def price(number: int) -> str:
        return "wrong" if number == bad_row else str(number / 100)

    yield b"id,name,price,tags,description\r\n"
    for start in range(1, ROWS + 1, 1000):
        rows = (
            f"{number},Product {number},{price(number)},red;steel,Made of steel\r\n"
            for number in range(start, start + 1000)
        )
        yield "".join(rows).encode()


def peak_rss(pid: int, stop: threading.Event, peak: list[int]) -> None:
    while not stop.wait(0.05):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        peak.append(pages * 4096)


def import_file(http: httpx2.Client, bad_row: int = 0) -> httpx2.Response:
    return http.post(
        "/products/import",
        content=csv_pieces(bad_row),
        headers={"Content-Type": "text/csv"},
        timeout=patience(120),
    )


def test_a_file_of_200_000_rows_is_imported_in_constant_memory_or_not_at_all(
    start_service, client, login
):
    service = start_service(WORKERS=1, TIMEOUT_REQUEST_SECONDS=120)
    (worker,) = service.workers()
    total = "/products?page=1"

    before = httpx2.get(service.base_url + total).json()["total"]
    http = client(service)
    login(http)
    refused = import_file(http, bad_row=150_000)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["row"] == 150_000
    assert httpx2.get(service.base_url + total).json()["total"] == before

    stop = threading.Event()
    peak: list[int] = []
    watcher = threading.Thread(target=peak_rss, args=(worker["pid"], stop, peak))
    watcher.start()
    imported = import_file(http)
    http.close()
    stop.set()
    watcher.join()

    assert imported.status_code == 200
    assert imported.json()["rows"] == ROWS
    assert max(peak) - peak[0] < GROWTH_MAX_BYTES
    assert httpx2.get(service.base_url + total).json()["total"] == ROWS

    export = f"{service.base_url}/products/export.csv"
    with httpx2.stream("GET", export, timeout=patience(60)) as answer:
        assert sum(piece.count(b"\n") for piece in answer.iter_bytes()) == ROWS + 1
