from tests.processes.running import Service, eventually


async def test_a_worker_is_recycled_by_requests_and_the_replacement_is_ready_first():
    async with Service(workers=1, recycle_requests=50) as starting:
        service = await starting.started()
        pids = set()
        for _ in range(200):
            pids.add(await service.get())
        replaced = await eventually(lambda: service.events("worker_replaced"))
        assert replaced[0]["reason"] == "requests"
        assert not service.events("worker_ended")
        await eventually(lambda: len(service.pids_alive()) == 1)


async def test_a_large_worker_is_recycled_after_three_samples():
    async with Service(workers=1, recycle_rss_bytes=1, sample_seconds=0.2) as starting:
        service = await starting.started()
        replaced = await eventually(lambda: service.events("worker_replaced"))
        assert replaced[0]["reason"] == "rss"


async def test_a_recycling_that_fails_leaves_the_old_worker_serving_and_is_tried_again(tmp_path):
    broken = tmp_path / "broken"
    environment = {"BROKEN_FILE": str(broken)}
    async with Service(workers=1, recycle_requests=20, environment=environment) as starting:
        service = await starting.started()
        broken.touch()
        old = {await service.get() for _ in range(30)}
        failed = await eventually(lambda: service.events("recycle_failed"))
        assert failed[0]["reason"].startswith("RuntimeError: broken for now (tests/")
        assert {await service.get()} == old
        broken.unlink()
        await eventually(lambda: service.events("worker_replaced"))
        assert not service.events("worker_ended")
