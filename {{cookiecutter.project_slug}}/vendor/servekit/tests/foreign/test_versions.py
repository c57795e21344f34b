import pytest
from structlog.testing import capture_logs

from servekit.edge.cycle import CheckedCycle, FastHeadCycle
from servekit.edge.options import cycle_factory
from servekit.foreign import versions


def test_the_installed_versions_are_those_that_the_tests_run_with():
    assert versions.untested(*versions.TESTED) == {}


@pytest.mark.parametrize("bounds", [("0.1", "0.2"), ("99.0", "100.0")])
def test_outside_the_tested_versions_uvicorn_writes_the_answers_and_the_log_says_so(
    monkeypatch, bounds
):
    monkeypatch.setitem(versions.TESTED, "uvicorn", bounds)
    monkeypatch.setattr(versions, "told", set())
    with capture_logs() as logs:
        assert getattr(cycle_factory([]), "func", None) is CheckedCycle

    [line] = logs
    assert line["event"] == "fast_ways_off"
    assert line["libraries"] == ["uvicorn"]


def test_with_the_tested_versions_our_own_cycle_writes_the_answers():
    with capture_logs() as logs:
        cycle = cycle_factory([])

    assert getattr(cycle, "func", None) is FastHeadCycle
    assert logs == []


def test_a_pre_release_counts_as_its_numbers():
    assert versions.as_numbers("1.10.0rc1") == (1, 10, 0)
    assert versions.as_numbers("0.54") < versions.as_numbers("0.55")
