"""A worker that gets most of the requests, and when that is no cause."""

from servekit.diagnosis.judgement import judge
from servekit.diagnosis.readings import LOOP_CPU, REQUEST
from tests.diagnosis.test_causes import BUSY, COMPUTING, CPU, REFUSING
from tests.diagnosis.windows import Deltas, profiles, seconds_of


def test_a_worker_that_gets_most_of_the_requests_is_named():
    hot, rest = seconds_of(COMPUTING, workers=1), seconds_of({f"{REQUEST}_count": {"200": 20.0}})
    windows = [*hot, *(window for window in rest if window.worker != "0")]

    found = {verdict.cause: verdict.workers for verdict in judge(windows, profiles()).verdicts}
    assert found == {"cpu_on_loop": ("0",), "uneven_workers": ("0",)}


def test_more_requests_are_no_cause_where_their_worker_has_little_to_do():
    failing: Deltas = {f"{REQUEST}_count": {"200": 50.0, "503": 50.0}, BUSY: 0.1}
    few: Deltas = {f"{REQUEST}_count": {"200": 10.0, "503": 10.0}, BUSY: 0.02}
    windows = [*seconds_of(failing, workers=1)]
    windows += [window for window in seconds_of(few) if window.worker != "0"]
    assert judge(windows, profiles()).verdicts == ()


def test_a_worker_with_more_requests_is_no_cause_where_the_others_are_as_busy():
    hot = seconds_of(REFUSING, workers=1)
    rest = seconds_of({BUSY: 0.9, LOOP_CPU: 0.9, CPU: 0.9, f"{REQUEST}_count": {"200": 20.0}})
    windows = [*hot, *(window for window in rest if window.worker != "0")]
    found = {verdict.cause for verdict in judge(windows, profiles()).verdicts}
    assert found == {"overload"}
