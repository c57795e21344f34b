"""What many routes cost: the last of them asked, ours beside bare FastAPI on uvicorn, a core each.

First and median are of single requests one after the other, the first of them after each start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import generator_name, run_load
from bench.routes_app import ROUTES_EACH, last_path
from bench.servers import Server, bare, service
from chaos.traffic.cpus import LOAD_CPU, SERVICE_CPU
from servekit.redis.embedded import EmbeddedServer

ROUTERS = (0, 1, 10, 30, 100)
SINGLE_REQUESTS = 200
OK, UNAVAILABLE = 200, 503
COST_MAX, FIRST_MAX = 1.1, 2.0
WAYS = ("bare", "ours")


@dataclass(frozen=True)
class Row:
    """One way with so many routers: requests a second, and milliseconds of single requests."""

    way: str
    routers: int
    requests_per_second: float
    failed: int
    first_ms: float
    median_ms: float

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.routers} x {ROUTES_EACH}" if self.routers else "1 route"


def start(way: str, routers: int, redis_url: str) -> contextlib.AbstractContextManager[Server]:
    """Start one of the two with nothing asked of its routes yet."""
    environ = {"BENCH_ROUTERS": str(routers)}
    if way == "bare":
        return bare("bench.routes_app:plain", "--factory", path="", cpu=SERVICE_CPU, **environ)
    return service(
        redis_url=redis_url,
        cpu=SERVICE_CPU,
        app="bench.routes_app:create_app",
        settings="servekit:Settings",
        **environ,
    )


def single_requests(url: str, path: str) -> list[float]:
    """Ask one after the other on one connection; return the milliseconds of each.

    What a busy machine makes the service refuse reached no route, and is asked again.
    """
    connection = HTTPConnection(urlsplit(url).netloc)
    connection.connect()
    took: list[float] = []
    while len(took) < SINGLE_REQUESTS:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status == OK:
            took.append((time.perf_counter() - began) * 1e3)
        elif answer.status != UNAVAILABLE:
            raise SystemExit(f"{path} answered {answer.status}")
    connection.close()
    return took


def measure(way: str, routers: int, redis_url: str, options: argparse.Namespace) -> Row:
    """Start it, ask for its last route, and load that."""
    path = last_path(routers)
    with start(way, routers, redis_url) as server:
        took = single_requests(server.url, path)
        load = run_load(
            server.url + path,
            connections=options.connections,
            seconds=options.seconds,
            headers={},
            cpu=LOAD_CPU,
        )
    print(".", end="", file=sys.stderr, flush=True)
    median = statistics.median(took[1:])
    return Row(way, routers, load.requests_per_second, load.failed, took[0], median)


def least_disturbed(rows: list[Row]) -> Row:
    """Return the best figures of several rounds: what else a machine does only ever adds time."""
    return Row(
        rows[0].way,
        rows[0].routers,
        max(row.requests_per_second for row in rows),
        min(row.failed for row in rows),
        min(row.first_ms for row in rows),
        min(row.median_ms for row in rows),
    )


def print_table(rows: list[Row]) -> None:
    """Print one line each, with the cost against one route of the same way."""
    single = {row.way: row.requests_per_second for row in rows if not row.routers}
    print(f"{'':5} {'routes':>9} {'req/s':>9} {'x one':>7} {'first ms':>9} {'median ms':>10}")
    for row in rows:
        cost = single[row.way] / row.requests_per_second
        missed = row.way == "ours" and (
            cost > COST_MAX or row.first_ms > FIRST_MAX * row.median_ms or row.failed
        )
        print(
            f"{row.way:5} {row.name:>9} {row.requests_per_second:9,.0f} {cost:6.2f}x "
            f"{row.first_ms:9.2f} {row.median_ms:10.2f}"
            + (f"  {row.failed} failed" if row.failed else "")
            + ("  missed" if missed else "")
        )
    print(f"goal of ours: <= {COST_MAX}x one route, first request <= {FIRST_MAX}x the median")


def main() -> None:
    """Measure all, round by round, and print the least disturbed figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts of each server (3)")
    parser.add_argument("--seconds", type=float, default=3, help="of load after each start (3)")
    parser.add_argument("--connections", type=int, default=32, help="keep-alive connections (32)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    seen: dict[tuple[str, int], list[Row]] = {(way, n): [] for way in WAYS for n in ROUTERS}
    with EmbeddedServer() as redis:
        for _ in range(options.rounds):
            for (way, routers), rows in seen.items():
                rows.append(measure(way, routers, redis.url, options))
    best = [least_disturbed(rows) for rows in seen.values()]
    print(file=sys.stderr)
    print_table(best)
    print(f"{generator_name()}, {options.connections} connections, {options.rounds} rounds")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in best], indent=2) + "\n")


if __name__ == "__main__":
    main()
