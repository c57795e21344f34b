"""A stall in which the loop's thread mostly had no CPU is called that, and no code is blamed."""

import asyncio
import threading
import time

import pytest
from hypothesis import given, strategies as st
from structlog.testing import capture_logs

from servekit.monitors import busy_clock, stall_evidence
from servekit.monitors.stall_evidence import CpuClocks, CpuReading
from tests.monitors.test_watchdog import Watched, records_of

SHARES = st.floats(0, 1)
LEAST = 0.05


def read_after(late: float, without_cpu: float, own: float, others: float) -> CpuReading:
    """Return the clocks a time after `BEFORE`, whose tick was due at 1."""
    return CpuReading(1 + late, 5 + own, 7 + own + others, 2 + without_cpu)


BEFORE = CpuReading(at=0.99, thread_cpu=5, process_cpu=7, run_queue_wait=2)


@pytest.mark.parametrize(
    ("late", "without_cpu", "own", "others", "starved"),
    [
        (0.17, 0.14, 0.03, 0.0, True),
        (0.17, 0.08, 0.09, 0.0, False),  # computed for most of it
        (0.5, 0.44, 0.06, 0.0, False),  # computed for long enough, whatever came besides
        (0.17, 0.06, 0.0, 0.0, False),  # waited in a call for most of it
        (0.17, 0.14, 0.03, 0.14, False),  # its own threads took the CPU
    ],
)
def test_most_of_a_stall_without_a_cpu_is_starvation(late, without_cpu, own, others, starved):
    after = read_after(late, without_cpu, own, others)
    assert after.starved_since(BEFORE, late, LEAST) is starved


@given(st.floats(0.05, 5), SHARES, SHARES, SHARES)
def test_code_is_blamed_that_would_be_with_a_cpu_at_hand(late, without_cpu, own, others):
    rest = late * (1 - without_cpu)
    after = read_after(late, late * without_cpu, rest * own, late * others)
    starved = after.starved_since(BEFORE, late, LEAST)
    assert not (starved and (rest > LEAST + 1e-6 or without_cpu < 0.49))
    assert starved or rest > LEAST - 1e-6 or without_cpu < 0.51 or others > 0.24


@pytest.mark.parametrize(("share", "cause"), [(0.92, "cpu_starvation"), (0.2, "blocking_call")])
async def test_the_event_says_so(monkeypatch, share, cause):
    class Scarce(busy_clock.RunQueueWait):
        """The clock of a thread that has no CPU for a share of all time."""

        def seconds(self):
            return share * time.monotonic()

    monkeypatch.setattr(stall_evidence, "RunQueueWait", Scarce)
    with capture_logs() as logs:
        async with Watched():
            await asyncio.sleep(0.05)
            time.sleep(0.4)  # noqa: ASYNC251 - the block
            [record] = await records_of(logs, 1)
    assert record["cause"] == cause


def test_where_no_clock_tells_of_a_thread_what_is_computed_is_its_own(monkeypatch):
    monkeypatch.delattr(time, "pthread_getcpuclockid")
    clocks = CpuClocks(threading.get_ident(), threading.get_native_id())
    try:
        before = clocks.read()
        while clocks.read().process_cpu - before.process_cpu < 0.05:
            pass
        assert clocks.read().computed_by(before) == "cpu"
    finally:
        clocks.close()
