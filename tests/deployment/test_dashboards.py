"""Boards are what their table says, show every metric, and ask what Prometheus understands."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from programs import need, run

LEFT_OUT = {
    "asyncio_eventloop_utilization_ratio": "of the last second; the busy seconds are shown",
    "process_virtual_memory_bytes": "addresses, not memory",
    "process_start_time_seconds": "worker_uptime_seconds is shown",
}
"""Metrics on no panel, and why."""

FUNCTIONS = {"sum", "max", "quantile", "topk", "rate", "deriv", "histogram_quantile", "clamp_min"}
WORDS = FUNCTIONS | {"by", "or", "and"}
UNITS = {"reqps", "ops", "s", "percentunit", "bytes", "none"}
RECORDED = re.compile(r"\bjob:\w+:\w+")

Panel = dict[str, Any]


@pytest.fixture(scope="module")
def boards(rendered_service) -> dict[str, dict[str, Any]]:
    """The boards by their address."""
    files = sorted((rendered_service / "deploy" / "grafana" / "boards").glob("*.json"))
    found = {file.stem: json.loads(file.read_text()) for file in files}
    assert all(board["uid"] == name for name, board in found.items())
    return found


@pytest.fixture(scope="module")
def panels(boards) -> list[Panel]:
    return [panel for board in boards.values() for panel in board["panels"]]


@pytest.fixture(scope="module")
def queries(panels) -> list[str]:
    return [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.fixture(scope="module")
def rules(rendered_service) -> list[dict[str, Any]]:
    folder = rendered_service / "deploy" / "prometheus"
    return [
        rule
        for name in ("alerts", "slo")
        for group in yaml.safe_load((folder / f"{name}.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]


def names(query: str) -> set[str]:
    """Return the metrics that a query reads, and check that it says of each whose they are."""
    matched = re.sub(r'"[^"]*"', "", query)
    matched = re.sub(r"by \([\w, ]*\)", "by", matched)
    found = set(re.findall(r"([\w:]+)\{", matched))
    bare = set(re.findall(r"[a-zA-Z_]\w*", re.sub(r"[\w:]+\{[^}]*\}(\[[^]]*\])?", "", matched)))
    assert bare <= WORDS, f"{query}: {bare - WORDS}"
    return found


def families(query: str) -> set[str]:
    return {re.sub("_(bucket|count|sum)$", "", name) for name in names(query)}


def plain(query: str) -> str:
    """Return a query as Grafana would send it."""
    query = query.replace("$__rate_interval", "1m").replace("$job", "service")
    query = re.sub(r"\$(instance|worker)\b", ".*", query)
    assert "$" not in query
    return query


def panel_of(boards, link: str) -> Panel:
    """Return the panel that a link leads to."""
    found = re.fullmatch(
        r"(?:http://localhost:3000)?/d/([\w-]+)\?viewPanel=panel-(\d+)(&.*)?", link
    )
    assert found, link
    (panel,) = [each for each in boards[found[1]]["panels"] if each["id"] == int(found[2])]
    return panel


def test_the_boards_are_what_the_table_says(rendered_service, tmp_path):
    source = rendered_service / "deploy" / "grafana"
    copy = shutil.copytree(source, tmp_path / "grafana")
    (copy / "boards" / "of-yesterday.json").write_text("{}")
    for file in (copy / "boards").glob("servekit-*.json"):
        file.unlink()
    subprocess.run([sys.executable, copy / "boards.py"], check=True, cwd=tmp_path)
    written = {file.name: file.read_text() for file in (copy / "boards").iterdir()}
    assert written == {file.name: file.read_text() for file in (source / "boards").iterdir()}


def test_promtool_understands_every_query(queries, tmp_path):
    promtool = need("promtool", "Debian's package prometheus")
    recorded = [
        {"record": f"query:number{number}", "expr": plain(query)}
        for number, query in enumerate(queries)
    ]
    rules = tmp_path / "queries.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    done = run(tmp_path, promtool, "check", "rules", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_asks_for_the_chosen_service_and_workers(queries):
    for query in queries:
        for name, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", query):
            assert 'job="$job"' in matchers, query
            chosen = 'instance=~"$instance", worker=~"$worker"' in matchers
            assert chosen == (not RECORDED.fullmatch(name)), query


def test_every_counter_is_read_by_its_rate_over_the_interval_of_the_board(queries):
    counted = re.compile(r"(\S*?)\b\w+(?:_total|_count|_sum|_bucket)\{[^}]*\}(\S*)")
    for query in queries:
        for before, after in counted.findall(query):
            assert before.endswith("rate("), query
            assert after.startswith("[$__rate_interval])"), query
        assert "rate(sum" not in query


def test_a_quotient_of_nothing_is_left_out_and_an_axis_shows_the_first_line(panels):
    for panel in panels:
        for target in panel["targets"]:
            query = target["expr"]
            assert query.count(" / ") == query.count(" > 0)"), panel["title"]
            assert query.count("histogram_quantile(") == query.count(" >= 0"), panel["title"]
        if panel["type"] == "timeseries":
            top = panel["fieldConfig"]["defaults"]["custom"]["axisSoftMax"]
            (_, *lines) = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert top > (lines[0]["value"] if lines else 0), panel["title"]


def test_every_panel_says_what_it_shows_and_in_which_unit(panels):
    for panel in panels:
        title = panel["title"]
        assert title
        assert panel["description"], title
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
        assert panel["type"] in {"stat", "timeseries"}, title
        assert panel["targets"], title
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), title


def test_every_legend_names_labels_that_its_query_keeps(panels):
    for panel in panels:
        for target in panel["targets"]:
            query = target["expr"]
            outermost = re.search(r"by \(([^)]*)\)", query)
            kept = {"instance", "worker"}  # without a sum: each series
            if outermost or "sum(" in query or RECORDED.match(query):
                kept = set(outermost[1].split(", ")) - {"le"} if outermost else set()
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == kept, panel["title"]


def test_panels_stand_beside_each_other_and_links_find_them(boards):
    for board in boards.values():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (place["x"] + x, place["y"] + y)
                for x in range(place["w"])
                for y in range(place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells
        assert [each["name"] for each in board["templating"]["list"]] == [
            "datasource",
            "job",
            "instance",
            "worker",
        ]


def test_every_metric_is_on_a_panel_or_left_out_for_a_reason(rendered_service, queries):
    guide = (rendered_service / "vendor/servekit/docs/operations.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (?:gauge|counter|histogram)", guide, re.MULTILINE)
    shown = set().union(*map(families, queries))
    assert set(rows) - shown == set(LEFT_OUT)
    assert {name for name in shown - set(rows) if not RECORDED.fullmatch(name)} == set()


def test_what_the_boards_read_of_the_rules_is_recorded_and_all_burns_are_shown(queries, rules):
    read = {name for query in queries for name in RECORDED.findall(query)}
    recorded = {rule["record"] for rule in rules if "record" in rule}
    assert read == {name for name in recorded if ":burn" in name}


def numbers(project: Path, module: str) -> dict[str, Any]:
    """Read the numbers by which the doctor judges; of a call the first argument."""
    tree = ast.parse((project / "vendor/servekit/src/servekit/diagnosis" / module).read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            for each in getattr(node.value, "values", ()):
                if isinstance(each, ast.Call):
                    each.args, each.keywords, each.func = each.args[:1], [], ast.Name("tuple")
            text = ast.unparse(node.value).replace("tuple(", "(")
            try:
                found[node.targets[0].id] = ast.literal_eval(text)
            except ValueError:
                continue
    return found


def test_the_limits_of_the_doctor_are_lines(rendered_service, panels):
    loop, waits, traffic, readings = (
        numbers(rendered_service, f"{module}.py")
        for module in ("causes/loop", "causes/waits", "causes/traffic", "readings")
    )
    limits = {cause: limit for cause, (limit, _) in loop["LIMITS"].items()} | waits["WAITS"]
    assert len(limits) >= 16
    limits |= {
        "overload": traffic["BUSY"],
        "uneven_workers": traffic["UNEVEN"],
        "low_hit_ratio": traffic["HIT_RATIO_MIN"],
        "many_statements": traffic["STATEMENTS_MIN"],
    }

    def lines(panel: Panel) -> set[float]:
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        return {step["value"] for step in steps[1:]}

    for cause, limit in limits.items():
        shown = [panel for panel in panels if f"`{cause}`" in panel["description"]]
        assert shown, cause
        assert all(limit in lines(panel) for panel in shown), cause

    by_title = {panel["title"]: panel for panel in panels}
    for title in ("Failed share", "Slow share", "Slow share over time"):
        assert lines(by_title[title]) == {readings["FAILED_SHARE"]}
    for title in ("Latency", "p99", "p99 by route"):
        assert lines(by_title[title]) == {readings["SLOW_SECONDS"]}
    assert readings["SLOW_BUCKET"] == f"{readings['SLOW_SECONDS']}"
    slow = next(target["expr"] for target in by_title["Slow share"]["targets"])
    assert f'le="{readings["SLOW_BUCKET"]}"' in slow
    assert readings["STALLED_SHARE"] in lines(by_title["Loop standing still"])


def test_every_alert_leads_to_a_panel_of_what_it_reads(rules, boards):
    for rule in rules:
        if "alert" not in rule:
            continue
        panel = panel_of(boards, rule["annotations"]["dashboard"])
        read = set(re.findall(r"([a-z_:0-9]+)(?:\{|\[| >)", rule["expr"])) - {"up"}
        shown = set().union(*(names(target["expr"]) for target in panel["targets"]))
        assert not read or read & shown, rule["alert"]


def test_every_runbook_leads_to_the_panel_and_to_the_doctor(rendered_service, rules, boards):
    guide = (rendered_service / "docs" / "operations.md").read_text()
    for rule in rules:
        if "alert" not in rule:
            continue
        _, _, after = guide.partition(f"\n### {rule['alert']}\n")
        paragraph = after.partition("\n#")[0]
        (link,) = re.findall(r"\]\((http://localhost:3000/d/[^)]*)\)", paragraph)
        assert panel_of(boards, link) == panel_of(boards, rule["annotations"]["dashboard"])
        assert "doctor" in paragraph, rule["alert"]
