import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx2
from running import patience

UNSEEDED = {"name": "Rare", "price": 5.0, "tags": [], "description": ""}


def prices(http: httpx2.Client, requests: int) -> set[float]:
    """Read the product so often, eight at a time, and return the prices seen."""
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda _: http.get("/products/7777"), range(requests))
        return {answer.raise_for_status().json()["price"] for answer in answers}


def loads(metric, service) -> float:
    """Return what was written to Redis: each write is one load of the database, or one PUT."""
    return sum(metric(service, "cache_writes_total", cache="product", tier="redis").values())


def test_a_hot_key_is_loaded_once_however_many_ask(start_service, metric):
    service = start_service(WORKERS=1, CACHE_WARM_SECONDS=0, PRESSURE_LOOP_LAG_MS=0)
    before = loads(metric, service)

    async def ask_together() -> list[int]:
        async with httpx2.AsyncClient(base_url=service.base_url, timeout=patience(30)) as http:
            answers = await asyncio.gather(*(http.get("/products/1") for _ in range(100)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(ask_together()) == [200] * 100
    assert loads(metric, service) - before == 1


def test_workers_share_the_cache_and_a_write_on_one_is_seen_on_the_other(
    start_service, client, login, metric
):
    service = start_service(WORKERS=2)
    with client(service, fresh=True) as http:
        login(http)
        http.put("/products/7777", json=UNSEEDED).raise_for_status()
        before = loads(metric, service)
        assert prices(http, 40) == {5.0}
        assert loads(metric, service) == before

        http.put("/products/7777", json=UNSEEDED | {"price": 6.0}).raise_for_status()
        assert prices(http, 40) == {6.0}
