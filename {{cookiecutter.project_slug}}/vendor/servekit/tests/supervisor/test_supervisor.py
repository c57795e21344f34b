"""What the supervisor does with decisions."""

import asyncio
import errno

from structlog.testing import capture_logs

from servekit.supervisor import events
from servekit.supervisor.program import SupervisorConfig
from servekit.supervisor.supervisor import Supervisor


async def test_what_is_decided_behind_a_failure_is_done():
    def fails(event):
        raise OSError(errno.EMFILE, f"no descriptor to tell of {event}")

    supervisor = Supervisor(SupervisorConfig(program="any:thing"), [], on_event=fails)
    supervisor._loop = asyncio.get_running_loop()
    supervisor._exit_code = supervisor._loop.create_future()
    with capture_logs() as logs:
        supervisor.tell(events.StopAsked())  # logs `stop_begins`, and ends: there is no worker
    assert await supervisor._exit_code == 0
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "action_failed"
    ] * 2
    await supervisor._processes.end()
