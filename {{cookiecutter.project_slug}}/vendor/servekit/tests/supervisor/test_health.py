from types import SimpleNamespace
from typing import Any

from servekit.configuration.settings import HANG_SECONDS_MIN
from servekit.supervisor import events
from servekit.supervisor.health import DUMP_SECONDS, HealthChecks
from servekit.supervisor.program import SupervisorConfig
from servekit.worker.worker import HEARTBEAT_SECONDS


def checks(worker: Any, **limits: Any) -> tuple[HealthChecks, list[events.Event]]:
    told: list[events.Event] = []
    config = SupervisorConfig(program="any:thing", **limits)
    return HealthChecks(lambda: config, lambda: {0: worker}, tell=told.append), told


def test_the_shortest_limit_for_silence_leaves_room_for_a_heartbeat_that_is_late():
    assert HANG_SECONDS_MIN - DUMP_SECONDS >= 2 * HEARTBEAT_SECONDS


def silent(**status: Any) -> Any:
    return SimpleNamespace(number=3, pid=0, silent_seconds=20.0, heartbeat_at=0, status=status)


def test_a_silent_worker_hangs_unless_a_debugger_holds_it_or_nobody_wants_to_know():
    cases: list[tuple[Any, dict[str, Any], bool]] = [
        (silent(), {}, True),
        (silent(debugger=True), {}, False),
        (silent(), {"hang_seconds": 0}, False),
    ]
    for worker, limits, hangs in cases:
        health, told = checks(worker, **limits)
        health._check_hangs(late=False)
        assert bool(told) is hangs
    health, told = checks(silent())
    health._check_hangs(late=True)
    assert not told


def test_workers_that_started_together_are_not_recycled_together():
    def recycled_at(number: int) -> int:
        for requests in range(800, 1200):
            worker = SimpleNamespace(number=number, status={"requests": requests})
            health, told = checks(worker, recycle_requests=1000)
            health._check_requests()
            if told:
                return requests
        return 0

    assert {recycled_at(number) for number in range(5)} == {900, 950, 1000, 1050, 1100}
