"""Counters are read as they are scraped, and only their growth counts."""

import pytest
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from servekit.diagnosis.readings import (
    KEPT,
    LOOP_CPU,
    REQUEST,
    STARTED,
    TASKS,
    read_scrape,
    window_between,
)
from servekit.supervisor.exposition import merge
from tests.diagnosis.test_judgement import growth

TOTALS = st.fixed_dictionaries({name: growth(name) for name in KEPT})


def scraped(route: str = "/pay") -> str:
    """Return a scrape of two workers."""
    registry = CollectorRegistry()
    requests = Histogram(
        REQUEST, "x", ["method", "route", "status"], buckets=(0.25, 1), registry=registry
    )
    for method, seconds in (("GET", 0.1), ("GET", 0.5), ("POST", 0.1)):
        requests.labels(method, route, "200").observe(seconds)
    Counter("own_total", "Somebody else's.", registry=registry).inc()
    text = generate_latest(registry).decode()
    return merge({0: text, 1: text}, "")


@given(st.text())
def test_labels_that_are_not_judged_by_add_up(route):
    totals = read_scrape(scraped(route))
    assert set(totals) == {"0", "1"}
    assert totals["1"][f"{REQUEST}_count"] == {"200": 3}
    assert totals["1"][f"{REQUEST}_bucket"] == {"0.25": 2, "1.0": 3, "+Inf": 3}
    assert totals["1"][f"{REQUEST}_sum"] == {route: pytest.approx(0.7)}


def test_what_is_not_judged_is_not_read():
    assert read_scrape('worker_ready{worker="0"} 1\nsome nonsense {{\n') == {}


@given(TOTALS, TOTALS)
def test_a_window_is_what_counters_grew_by(before, grown):
    after = {
        name: {
            label: before[name].get(label, 0) + series.get(label, 0)
            for label in before[name] | series
        }
        for name, series in grown.items()
    }
    after[STARTED] = before[STARTED]
    window = window_between("0", before, after, at=1, seconds=1)
    assert window is not None
    for name in KEPT.keys() - {STARTED}:
        assert window.total(name) == pytest.approx(sum(grown[name].values()), abs=1e-6)


def test_a_worker_that_did_not_answer_is_not_there_whatever_the_supervisor_says():
    connections = 'worker_connections{worker="0"} 3\nworker_connections{worker="1"} 5\n'
    text = f'{LOOP_CPU}{{worker="1"}} 2\n{connections}'
    assert read_scrape(text) == {"1": {LOOP_CPU: {"": 2.0}, "worker_connections": {"": 5.0}}}


def test_gauges_are_told_as_they_are_at_the_end():
    before = {LOOP_CPU: {"": 1.0}, TASKS: {"serve": 9.0, "gone": 2.0}}
    after = {LOOP_CPU: {"": 2.0}, TASKS: {"serve": 4.0}}
    window = window_between("0", before, after, at=1, seconds=1)
    assert window is not None
    assert (window.deltas, window.levels) == ({LOOP_CPU: {"": 1.0}}, {TASKS: {"serve": 4.0}})


def test_a_worker_that_was_replaced_begins_anew():
    before = {STARTED: {"": 1.0}, LOOP_CPU: {"": 5.0}}
    assert window_between("0", before, {**before, STARTED: {"": 2.0}}, at=1, seconds=1) is None
    assert window_between("0", before, {**before, LOOP_CPU: {"": 4.0}}, at=1, seconds=1) is None


def test_a_metric_that_did_not_grow_is_known_and_one_that_is_missing_is_not():
    scrape = {STARTED: {"": 1.0}, LOOP_CPU: {"": 5.0}}
    window = window_between("0", scrape, scrape, at=1, seconds=1)
    assert window is not None
    assert window.deltas == {STARTED: {}, LOOP_CPU: {}}
