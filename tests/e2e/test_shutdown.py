import asyncio
import signal

import pytest
from running import patience


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_progress_are_answered_after_the_signal_and_it_exits_0(
    start_service, begin_upload, number
):
    service = start_service(WORKERS=2)

    async def stop_in_between() -> list[int]:
        uploads = [await begin_upload(service) for _ in range(2)]
        await asyncio.sleep(0.5)
        service.process.send_signal(number)
        await asyncio.sleep(0.5)
        return [await upload.finish() for upload in uploads]

    assert asyncio.run(stop_in_between()) == [200, 200]
    assert service.process.wait(patience(30)) == 0
