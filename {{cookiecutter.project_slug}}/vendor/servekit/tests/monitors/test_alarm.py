"""What wakes the watchdog, and what does not."""

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest

from servekit.monitors.alarm import Due, PolledAlarm, TimerAlarm
from servekit.monitors.stall_evidence import CpuReading
from servekit.testing import patience
from tests.monitors.test_watchdog import Watched

PERIODS = 25
QUIET_SECONDS = 0.2
"""In which a thread that polls wakes five times at least."""


@pytest.mark.parametrize("kind", [TimerAlarm, PolledAlarm])
def test_an_alarm_that_is_set_earlier_goes_off_earlier(kind):
    reading = CpuReading(0, 0, 0, 0)
    alarm = kind(Due(time.monotonic() + 60, reading))
    alarm.arm()
    waits = threading.Thread(target=alarm.wait)
    waits.start()
    alarm.put_off(Due(time.monotonic() + 0.01, reading))
    waits.join(patience(5))
    assert not waits.is_alive()
    alarm.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no such timer")
async def test_a_loop_that_ticks_wakes_no_one():
    async with Watched():
        [thread] = [thread for thread in threading.enumerate() if thread.name == "watchdog"]
        status = Path(f"/proc/self/task/{thread.native_id}/status")
        for _ in range(PERIODS):  # the machine itself may be late in some
            before = times_asleep(status)
            await asyncio.sleep(QUIET_SECONDS)
            if times_asleep(status) == before:
                return
    raise AssertionError("it woke in each of them")


def times_asleep(status):
    [line] = (line for line in status.read_text().splitlines() if line.startswith("voluntary"))
    return int(line.split()[1])
