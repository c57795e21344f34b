from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs

from servekit.configuration.safety import HANG_SECONDS_MIN
from servekit.supervisor import events, health
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
        found, told = checks(worker, **limits)
        found._check_hangs(late=False)
        assert bool(told) is hangs
    found, told = checks(silent())
    found._check_hangs(late=True)
    assert not told


def test_workers_that_started_together_are_not_recycled_together():
    def recycled_at(number: int) -> int:
        for requests in range(800, 1200):
            worker = SimpleNamespace(number=number, status={"requests": requests})
            found, told = checks(worker, recycle_requests=1000)
            found._check_requests()
            if told:
                return requests
        return 0

    assert {recycled_at(number) for number in range(5)} == {900, 950, 1000, 1050, 1100}


def test_limits_below_fresh_workers_are_told_once_for_each_code_and_of_no_old_worker(monkeypatch):
    taken = {1: 90, 2: 90, 3: 200}
    monkeypatch.setattr(health, "rss_bytes", lambda pid: taken[pid] << 20)
    workers = [SimpleNamespace(pid=1, generation=1)]
    limits = {"PRESSURE_RSS_MIB": 100 << 20}
    config = [SupervisorConfig(program="any:thing", rss_limits=limits)]
    nobody: list[events.Event] = []
    checks = HealthChecks(
        lambda: config[0], lambda: cast("Any", dict(enumerate(workers))), tell=nobody.append
    )

    def told() -> list[tuple[str, int, int]]:
        with capture_logs() as logs:
            for _ in range(3):
                checks._check_limits()
        return [(log["setting"], log["limit_mib"], log["worker_mib"]) for log in logs]

    assert told() == []
    taken[1] = 500  # it has grown
    config[0] = SupervisorConfig(program="any:thing", rss_limits={"PRESSURE_RSS_MIB": 80 << 20})
    assert told() == []  # new limits are those of the new code, which is being loaded
    workers.append(SimpleNamespace(pid=2, generation=2))
    assert told() == [("PRESSURE_RSS_MIB", 80, 90)]
    config[0] = SupervisorConfig(program="any:thing", rss_limits=limits)
    workers.append(SimpleNamespace(pid=3, generation=3))
    assert told() == [("PRESSURE_RSS_MIB", 100, 200)]
