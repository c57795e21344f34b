import json
import urllib.error

import pytest

from tests.processes.running import Service


async def test_one_scrape_shows_every_worker_and_the_supervisor():
    async with Service() as starting:
        service = await starting.started()
        text = (await service.ask("/metrics")).decode()
        for row in await service.workers():
            assert f'requests_total{{worker="{row["slot"]}",pid="{row["pid"]}"}} 1.0' in text
            assert f'worker_ready{{worker="{row["slot"]}"}} 1.0' in text
        assert text.count("# TYPE requests_total counter") == 1
        stacks = await service.ask("/debug/stacks?worker=1")
        assert b"MainThread" in stacks
        with pytest.raises(urllib.error.HTTPError, match="502"):
            await service.ask("/debug/nonsense?worker=0")
        row = json.loads(await service.ask("/workers"))["workers"][0]
        assert row["rss_bytes"] > row["pss_bytes"] > 0


async def test_the_admin_token_is_demanded_everywhere_but_for_the_probes():
    async with Service(token="secret") as starting:
        service = await starting.started()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            await service.ask("/metrics")
        assert b"worker_ready" in await service.ask("/metrics", authorization="Bearer secret")
        assert await service.ask("/livez") == b"ok"
        assert await service.ask("/readyz") == b"ok"
