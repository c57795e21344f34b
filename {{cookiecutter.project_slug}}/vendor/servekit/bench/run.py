"""Measure a service beside a bare FastAPI application, in one run, and print the ratios."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from bench.load import Load, generator_name, run_load
from bench.servers import Server, bare, service
from chaos.traffic.cpus import LOAD_CPU, SERVICE_CPU
from servekit.redis.embedded import EmbeddedServer

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Case:
    """One comparison: a path of the service and the path of the yardstick it is held against."""

    name: str
    path: str
    bare_path: str
    goal: float = 0  # none
    login: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    local_tier: bool = True


PAST_THE_PAGES = (("Range", "bytes=0-"),)
"""No page answers a request for a part: the route runs, over the cached function."""

CASES = [
    Case("small JSON", "/", "/", 0.95),
    Case("cached product", "/products/1", "/products/1", 1.0),
    Case("product list, response cache", "/products?page=1", "/products/1", 2.0),
    Case("product by @cached", "/products/1", "/products/1", 0.85, headers=PAST_THE_PAGES),
    Case(
        "the same from Redis",
        "/products/1",
        "/products/1",
        0.6,
        headers=PAST_THE_PAGES,
        local_tier=False,
    ),
    Case("session read", "/session", "/", 0.75, login=True),
]


def login(url: str) -> str:
    """Create a user, log in and return the session's cookie."""
    body = json.dumps({"username": "bench", "password": PASSWORD}).encode()
    cookie = ""
    for path in ("/users", "/session"):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url + path, body, headers)
        with urllib.request.urlopen(request) as answer:
            cookie = answer.headers.get("Set-Cookie", "").split(";")[0]
    return cookie


def measure(
    case: Case, servers: tuple[Server, Server], options: argparse.Namespace
) -> dict[str, object]:
    """Load both servers in turn, round by round, and return medians and the median ratio."""
    ours, yardstick = servers
    headers = dict(case.headers) | ({"Cookie": login(ours.url)} if case.login else {})
    rounds: list[tuple[Load, Load]] = []
    for number in range(options.rounds + 1):
        pair = [
            run_load(
                url,
                connections=options.connections,
                seconds=options.seconds if number else 1,
                headers=sent,
                cpu=LOAD_CPU,
            )
            for url, sent in ((ours.url + case.path, headers), (yardstick.url + case.bare_path, {}))
        ]
        if number:  # the first round warms both up
            rounds.append((pair[0], pair[1]))
        print(".", end="", file=sys.stderr, flush=True)
    ratio = statistics.median(a.requests_per_second / b.requests_per_second for a, b in rounds)
    return {
        "case": case.name,
        "requests_per_second": statistics.median(a.requests_per_second for a, _ in rounds),
        "p50_ms": statistics.median(a.p50_ms for a, _ in rounds),
        "p99_ms": statistics.median(a.p99_ms for a, _ in rounds),
        "failed": sum(a.failed for a, _ in rounds),
        "bare_requests_per_second": statistics.median(b.requests_per_second for _, b in rounds),
        "ratio": ratio,
        "goal": case.goal,
    }


def print_table(rows: list[dict[str, object]]) -> None:
    """Print one line a case."""
    print(
        f"{'case':30} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'bare':>9} {'ratio':>7} {'goal':>6}"
    )
    for row in rows:
        print(
            f"{row['case']:30} {row['requests_per_second']:9,.0f} {row['p50_ms']:8.2f} "
            f"{row['p99_ms']:8.2f} {row['bare_requests_per_second']:9,.0f} {row['ratio']:6.2f}x "
            + (f"{row['goal']:5.2f}x" if row["goal"] else f"{'-':>6}")
            + (f"  {row['failed']} failed" if row["failed"] else "")
        )


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; `cases` are those that it chooses."""
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (4)")
    parser.add_argument("--connections", type=int, default=32, help="keep-alive connections (32)")
    parser.add_argument("--case", action="append", help="only the cases whose name contains this")
    parser.add_argument("--app", default="", help="another application: service.app:create_app")
    parser.add_argument(
        "--settings", default="servekit:Settings", help="its settings: service.settings:Settings"
    )
    parser.add_argument(
        "--route", action="append", default=[], help="a path of --app, beside bare small JSON"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    if options.app:
        options.cases = [Case(path, path, "/") for path in options.route or ["/"]]
        return options
    words = options.case or [""]
    options.cases = [case for case in CASES if any(word in case.name for word in words)]
    if not options.cases:
        parser.error(f"no such case; there are: {', '.join(case.name for case in CASES)}")
    return options


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Start what is compared, and return the figures of all chosen cases."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer() as redis:
        common: dict[str, Any] = {"redis_url": redis.url, "cpu": SERVICE_CPU}
        database = f"sqlite+aiosqlite:///{folder}/bench.db"
        if options.app:
            common |= {"app": options.app, "settings": options.settings}
            database = os.environ.get("DATABASE_URL", database)
        common["DATABASE_URL"] = database
        with (
            service(**common) as ours,
            service(**common, CACHE_LOCAL_MIB="0") as without_local_tier,
            bare(cpu=SERVICE_CPU) as yardstick,
        ):
            rows = [
                measure(case, (ours if case.local_tier else without_local_tier, yardstick), options)
                for case in options.cases
            ]
            return {
                "cases": rows,
                "pss_mib": ours.pss_mib(),
                "start_seconds": ours.start_seconds,
            }


def main() -> None:
    """Run the comparison."""
    options = options_of(argparse.ArgumentParser(description=__doc__))
    figures = measure_all(options)
    print(file=sys.stderr)
    print_table(figures["cases"])
    where = f"server on CPU {SERVICE_CPU}, load on CPU {LOAD_CPU}"
    where = "not pinned" if SERVICE_CPU is None else where
    print(
        f"{generator_name()}, {options.connections} connections, {options.rounds} rounds, {where}"
    )
    sizes = ", ".join(f"{size:.1f}" for size in figures["pss_mib"])
    print(f"PSS of each process, MiB: {sizes}")
    print(f"start to ready: {figures['start_seconds']:.2f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
