import httpx2

EVERY_WORKER = [
    "http_server_active_requests",
    "asyncio_eventloop_utilization_ratio",
    "asyncio_tasks",
    "process_resident_memory_bytes",
    "process_open_fds",
    "cache_invalidation_channel_up",
    "worker_uptime_seconds",
    "worker_ready",
]
FAMILIES = [
    "http_server_request_duration_seconds",
    "http_requests_shed",
    "asyncio_eventloop_lag_seconds",
    "asyncio_eventloop_stall_seconds",
    "python_gc_duration_seconds",
    "cache_hits",
    "offload_queue_size",
    "redis_command_duration_seconds",
    "worker_restarts",
]


def test_one_scrape_shows_every_worker(start_service, client, metric):
    service = start_service(WORKERS=2)
    with client(service, fresh=True) as http:
        for _ in range(20):
            http.get("/products/1").raise_for_status()

    for name in EVERY_WORKER:
        assert set(metric(service, name)) == {"0", "1"}, name
    text = httpx2.get(f"{service.admin_url}/metrics").text
    assert [name for name in FAMILIES if f"# TYPE {name}" not in text] == []
    served = metric(
        service, "http_server_request_duration_seconds_count", route="/products/{product_id}"
    )
    assert sum(served.values()) == 20
