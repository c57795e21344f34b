"""What Prometheus reads of several workers, whatever metrics and labels their code has."""

import shutil
import subprocess

import pytest
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from servekit.supervisor.exposition import merge

PROMTOOL = shutil.which("promtool")
AWKWARD = ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\r", "\n", '"', "\\", "\\n", "}", "{", ","]
VALUES = st.lists(st.sampled_from([*AWKWARD, "a", "=", 'worker="9"', " # "]), max_size=5).map(
    "".join
) | st.text(st.characters(codec="utf-8"), max_size=5)
LABELS = st.lists(
    st.sampled_from(["path", "worker", "exported_worker", "le_", "my_worker"]),
    unique=True,
    max_size=4,
)


def text_of(amount):
    registry = CollectorRegistry()
    Counter("requests", "All { of } them.", ["path"], registry=registry).labels('/a"b}').inc(amount)
    Histogram("seconds", "Time.", registry=registry, buckets=[1]).observe(amount)
    return generate_latest(registry).decode()


def samples_of(text):
    """Return the samples by name and labels, as the parser of prometheus_client reads them."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check(text):
    """Have Prometheus' own tool parse a text; what it says of taste does not count."""
    if PROMTOOL is None:
        return
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    complaints = done.stderr.decode()
    assert "error" not in complaints, complaints


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
    check(merged)


@given(names=LABELS, data=st.data(), help_text=VALUES)
def test_any_labels_come_out_as_they_went_in_beside_the_workers(names, data, help_text):
    values = [data.draw(VALUES) for _ in names]
    registry = CollectorRegistry()
    gauge = Gauge("level", help_text, names, registry=registry)
    (gauge.labels(*values) if names else gauge).set(3)
    merged = merge({4: generate_latest(registry).decode()}, "")

    [(sample, value)] = samples_of(merged).items()
    labels = dict(sample[1:])
    assert (sample[0], value, labels.pop("worker")) == ("level", 3.0, "4")
    assert sorted(labels.values()) == sorted(values)
    given_names = {*names} - {"worker"}
    assert given_names <= set(labels)
    if "worker" in names:
        [new] = set(labels) - given_names
        assert new.startswith("exported_")
        assert labels[new] == values[names.index("worker")]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_tool_of_prometheus_reads_awkward_labels(value):
    registry = CollectorRegistry()
    counter = Counter("made", f"a{value}b", ["worker", "what"], registry=registry)
    counter.labels(value, value).inc()
    check(merge({0: generate_latest(registry).decode()}, text_of(1)))


def test_a_metric_is_described_once_though_others_use_its_name():
    ours = "# HELP up Ours.\n# TYPE up gauge\nup 1.0\n"
    theirs = "# HELP up Theirs.\n# TYPE up counter\nup 5.0\n"
    again = "# HELP level A.\n# TYPE level gauge\nlevel 1.0\n# HELP level B.\n# TYPE level gauge\n"
    merged = merge({0: theirs + again + 'level{a="b"} 2.0\n', 1: theirs}, ours)

    assert samples_of(merged) == {("up",): 1.0, ("level", ("worker", "0")): 1.0}
    check(merged)
