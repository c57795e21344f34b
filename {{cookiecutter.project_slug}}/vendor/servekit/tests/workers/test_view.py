from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from servekit.workers.view import merge


def text_of(amount):
    registry = CollectorRegistry()
    Counter("requests", "All { of } them.", ["path"], registry=registry).labels('/a"b}').inc(amount)
    Histogram("seconds", "Time.", registry=registry, buckets=[1]).observe(amount)
    return generate_latest(registry).decode()


def test_every_sample_gets_its_worker_and_families_stay_together():
    merged = merge({0: text_of(1), 1: text_of(2)}, "own_metric 1.0\n")
    families = {family.name: family for family in text_string_to_metric_families(merged)}
    totals = {
        sample.labels["worker"]: (sample.value, sample.labels["path"])
        for sample in families["requests"].samples
        if sample.name == "requests_total"
    }
    assert totals == {"0": (1.0, '/a"b}'), "1": (2.0, '/a"b}')}
    assert {sample.labels["worker"] for sample in families["seconds"].samples} == {"0", "1"}
    assert merged.count("# TYPE requests_total counter") == 1
    assert "own_metric" in families
